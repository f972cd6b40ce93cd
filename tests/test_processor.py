"""What the system says of the processor."""

import platform

import pytest

from ftkit.machine.processor import has_bfloat16, has_bfloat16_tiles, processor_name


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("flags\t\t: fpu avx512f\nvmx flags\t: bf16\n", False),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("Features\t: fp asimd\n", False),
        ("cpu\t\t: POWER9\n", None),
        ("", None),
    ],
)
def test_instructions_for_bfloat16_are_found(text, has, tmp_path, monkeypatch):
    monkeypatch.setattr("ftkit.machine.processor.CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(text)
    assert has_bfloat16() is has
    assert has_bfloat16_tiles() is ("amx" in text)


def test_the_name_is_that_of_the_first_core(tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr("ftkit.machine.processor.CPUINFO", file)
    assert processor_name() == platform.processor()
    assert has_bfloat16() is None
    file.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2.5GHz\n\nmodel name\t: Another\n")
    assert processor_name() == "Some CPU @ 2.5GHz"
