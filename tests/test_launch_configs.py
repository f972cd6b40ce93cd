"""The configuration files in scripts/accelerate, read by accelerate itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env

from ftkit.machine.launch import RequestedProcesses, requested_processes, torchrun_flags

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "scripts" / "accelerate"
KINDS = {
    "cpu": DistributedType.MULTI_CPU,
    "one_gpu": DistributedType.NO,
    "multi_gpu": DistributedType.MULTI_GPU,
    "fsdp2": DistributedType.FSDP,
    "two_hosts": DistributedType.MULTI_GPU,
}


def launched(name, *flags):
    """Return the arguments that accelerate launches with this file."""
    words = ["--config_file", str(FOLDER / f"{name}.yaml"), *flags, "x.py", "--recipe", "y"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    return arguments


def test_each_file_is_tested_here():
    assert {file.stem for file in FOLDER.iterdir()} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_reads_it(name):
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert isinstance(config, ClusterConfig)
    assert config.distributed_type == KINDS[name]
    assert config.mixed_precision == "no"  # an unquoted no is False in YAML
    arguments = launched(name)
    known = set(vars(launch_command_parser().parse_args(["x.py"])))
    assert set(config.fsdp_config) <= known
    assert arguments.num_processes == config.num_processes >= 1


def test_the_cpu_file_starts_its_processes(monkeypatch):
    _, environment = prepare_simple_launcher_cmd_env(launched("cpu"))
    assert environment["ACCELERATE_USE_CPU"] == "True"
    wanted = requested_processes(
        ["accelerate", "launch", "--config_file", str(FOLDER / "cpu.yaml"), "x.py"]
    )
    assert wanted == RequestedProcesses(num_processes=2)
    assert torchrun_flags(wanted) == ["--standalone", "--nproc_per_node=2"]


def test_the_fsdp_file_makes_a_plugin_of_version_2(monkeypatch):
    from accelerate.utils import FullyShardedDataParallelPlugin

    environment = prepare_multi_gpu_env(launched("fsdp2"))
    assert environment["ACCELERATE_USE_FSDP"] == "true"
    for name, value in environment.items():
        if name.startswith("FSDP_") or name not in os.environ:
            monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"


def test_flags_come_before_the_file_and_machines_share_the_processes():
    file = str(FOLDER / "two_hosts.yaml")
    command = f"python accelerate launch --config_file={file} --cpu --machine-rank 1"
    wanted = requested_processes(
        [*command.split(), "--num_processes", "2", "--main_process_ip", "a.b"]
    )
    assert wanted == RequestedProcesses(2, 2, 1, "a.b", 29500)
    assert torchrun_flags(wanted) == [
        "--nproc_per_node=1",
        "--nnodes=2",
        "--node_rank=1",
        "--master_addr=a.b",
        "--master_port=29500",
    ]


def test_what_accelerate_config_wrote_counts_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert requested_processes(["accelerate", "launch", "x.py"]) == RequestedProcesses()
    (tmp_path / "accelerate").mkdir()
    (tmp_path / "accelerate" / "default_config.yaml").write_text("num_processes: 3\n")
    assert requested_processes(["accelerate", "launch", "x.py"]).num_processes == 3
    assert (
        requested_processes(["accelerate", "launch", "--cpu", "x.py"]) == RequestedProcesses()
    )  # as accelerate does


@pytest.mark.parametrize(
    ("words", "told", "threads"),
    [
        ([], {}, None),  # as OpenMP does by itself: one for each core
        ([], {"OMP_NUM_THREADS": "1"}, "1"),
        (["--num_cpu_threads_per_process", "1"], {}, "1"),
        (["--num_cpu_threads_per_process", "3"], {}, "3"),
    ],
)
def test_one_thread_is_taken_back_where_nobody_asked_for_it(words, told, threads, tmp_path):
    (tmp_path / "script.py").write_text(
        "import os\nfrom ftkit.machine.launch import ensure_processes\n"
        "ensure_processes(__file__, [])\nprint('threads', os.environ.get('OMP_NUM_THREADS'))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        ["accelerate", "launch", *words, "script.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT), **told},
    )
    assert done.stdout.splitlines() == [f"threads {threads}"], done.stderr


def test_one_thread_that_a_user_asks_for_without_accelerate_stays(tmp_path):
    code = (
        "import os\nfrom ftkit.machine.launch import ensure_processes\n"
        "ensure_processes('script.py', [])\nprint(os.environ.get('OMP_NUM_THREADS'))\n"
    )
    shell = f'OMP_NUM_THREADS=1 ACCELERATE_MIXED_PRECISION=no {sys.executable} -c "$CODE"; true'
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        ["bash", "-c", shell],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT), "CODE": code},
    )
    assert done.stdout.split() == ["1"], done.stderr
