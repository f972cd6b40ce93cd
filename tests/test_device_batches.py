"""Batches come in order, and what stays on the host stays there."""

import torch

from ftkit.tasks.device_batches import on_device, on_host

CPU = torch.device("cpu")


def test_batches_come_in_order_one_by_one():
    read = []

    def batches():
        for number in range(3):
            read.append(number)
            yield {"pixel_values": torch.full((2, 1), float(number)), "index": torch.arange(2)}

    for number, batch in enumerate(on_device(batches(), CPU, kept=("index",))):
        assert read == list(range(number + 1))  # a CPU computes nothing meanwhile: none is ahead
        assert batch["pixel_values"].unique() == number
    assert number == 2


def test_what_is_kept_is_not_moved():
    given = {"values": torch.ones(2), "index": torch.ones(2), "use_cache": False}
    (batch,) = on_device([given], torch.device("meta"), ("index",))
    assert batch["values"].device.type == "meta"
    assert batch["use_cache"] is False
    assert batch["index"].device.type == "cpu"


def test_outputs_come_in_order():
    outputs = [torch.tensor(number) for number in range(3)]
    assert list(on_host(iter(outputs), CPU)) == outputs
    assert list(on_host(iter(()), CPU)) == []
