"""What `ftkit doctor` runs in processes of their own; each prints its answer as a line of JSON."""

TORCH = """
import json, os, platform
import torch
from ftkit.machine.threads import usable_cores

def flags():
    try:
        text = open("/proc/cpuinfo", encoding="utf-8", errors="replace").read()
    except OSError:
        return set()
    return set(text.partition("flags")[2].partition("\\n")[0].split())

def name():
    try:
        lines = open("/proc/cpuinfo", encoding="utf-8", errors="replace").read().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return found[0] if found else platform.machine()

fast = {"avx512_bf16", "amx_bf16", "bf16"} & flags()
bf16 = f"bf16 in hardware ({', '.join(sorted(fast))})" if fast else "bf16 without hardware for it"
cpu = f"{name()}, {usable_cores()} cores, {torch.get_num_threads()} threads, fp32, {bf16}"
torch.ones(8, 8) @ torch.ones(8, 8)

devices, why = [], "torch was built without CUDA" if torch.version.cuda is None else ""
if torch.cuda.is_available():
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        major, minor = about.major, about.minor
        with torch.cuda.device(number):
            torch.ones(8, 8, device="cuda").sum().item()  # does a kernel run on it at all?
            can = ["fp32", "fp16"] + ["bf16"] * torch.cuda.is_bf16_supported(False)
        can += ["tf32"] * (major >= 8 and torch.version.cuda is not None)
        devices.append(f"{about.name}, {about.total_memory / 1e9:.0f} GB, capability "
                       f"{major}.{minor}, {', '.join(can)}")
elif torch.version.cuda is not None:
    try:
        torch.cuda.init()
    except Exception as error:
        why = " ".join(str(error).split())
if torch.backends.mps.is_available():
    devices.append("Apple MPS, fp32, fp16, bf16")

backends = []
if torch.distributed.is_available():
    backends = ["gloo"] * torch.distributed.is_gloo_available()
    backends += ["nccl"] * torch.distributed.is_nccl_available()
print(json.dumps({"torch": torch.__version__, "cpu": cpu, "devices": devices, "why_no_gpu": why,
                  "backends": backends}))
"""

PAIR = """
import torch
from torchvision.ops import nms
from torchvision.transforms import v2
kept = nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
assert kept.tolist() == [0]
print("{}")
"""

TRANSFORMERS = """
import accelerate, datasets, peft
from transformers import AutoModelForImageClassification, Trainer
print("{}")
"""
