# Sourced by quickstart.sh, test.sh and docs.sh: a virtual environment in .venv with ftkit and the given
# extras in it. Made only where there is none; installed again only when pyproject.toml has changed.
install() {
    local extras=$1
    [ -d .venv ] || { echo "making .venv"; "${PYTHON:-python3}" -m venv .venv; }
    local stamp=.venv/ftkit-$extras wanted
    wanted=$(cksum < pyproject.toml)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        echo "using .venv as it is"
    else
        echo "installing ftkit[$extras] and what it needs into .venv (torch is large: minutes)"
        .venv/bin/pip install --quiet --disable-pip-version-check -e ".[$extras]"
        echo "$wanted" > "$stamp"
    fi
    PATH=$PWD/.venv/bin:$PATH
}
