"""The names of other packages that ftkit relies on and that no documentation promises to keep.

They are private names, methods that a class of ftkit overrides, and names that have to be imported
from an inner module. `tests/test_upstream.py` fails when the installed packages lack one of them,
and when ftkit uses one that is not in this list. When an upgrade removes a name, the reason tells
what its successor has to do.
"""

from __future__ import annotations

from typing import NamedTuple


class Upstream(NamedTuple):
    """A name of another package."""

    name: str
    """Where the installed package has it. An attribute of instances is named after its class."""
    reason: str
    """What ftkit uses it for, and so what would stop working without it."""
    takes: str | None = None
    """The names of its parameters, where ftkit passes or receives them by position or by name."""


TRAINER = (
    Upstream(
        "transformers.Trainer._clip_grad_norm",
        "clips only the parameters that move, and does not search all modules for them in a step",
        "self, model",
    ),
    Upstream(
        "transformers.Trainer._determine_best_metric",
        "keeps the epoch with the lower loss when two have the same figure",
        "self, metrics, trial",
    ),
    Upstream(
        "transformers.Trainer._finalize_training",
        "waits for the last checkpoint, and stops the clock, before the best weights are loaded",
        "self, trial, num_train_samples, start_time",
    ),
    Upstream(
        "transformers.Trainer._get_grad_norm",
        "stops a run whose gradient is not a number",
        "self, model, grad_norm",
    ),
    Upstream(
        "transformers.Trainer._get_learning_rate",
        "tells the current learning rate in the message of a run that diverged",
        "self",
    ),
    Upstream(
        "transformers.Trainer.get_batch_samples",
        "copies the next batch to a GPU while one is computed",
        "self, epoch_iterator, num_batches, device",
    ),
    Upstream(
        "transformers.Trainer._get_num_items_in_batch",
        "counts the labels of a whole optimiser step for any task, also lists and numbers",
        "self, batch_samples, device",
    ),
    Upstream(
        "transformers.Trainer._globalstep_last_logged",
        "is part of a checkpoint, so that log.jsonl of a resumed run has the same lines",
    ),
    Upstream(
        "transformers.Trainer._init_training_state",
        "sets the step, the best step and the patience of the checkpoint that is resumed",
        "self, max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, "
        "trial",
    ),
    Upstream(
        "transformers.Trainer._load_best_model",
        "loads the best weights from ftkit's own checkpoint",
        "self",
    ),
    Upstream(
        "transformers.Trainer._load_from_checkpoint",
        "loads the weights that move from ftkit's own checkpoint",
        "self, resume_from_checkpoint, model",
    ),
    Upstream(
        "transformers.Trainer._load_optimizer_and_scheduler",
        "loads the optimiser and the schedule from ftkit's own checkpoint",
        "self, checkpoint",
    ),
    Upstream(
        "transformers.Trainer._load_rng_state",
        "loads the random state of each process from ftkit's own checkpoint",
        "self, checkpoint",
    ),
    Upstream(
        "transformers.Trainer._load_scaler",
        "loads the gradient scaler of fp16 from ftkit's own checkpoint",
        "self, checkpoint",
    ),
    Upstream(
        "transformers.Trainer._maybe_log_save_evaluate",
        "validates before the first step, and where a run was stopped before its validation",
        "self, tr_loss, grad_norm, model, trial, epoch, ignore_keys_for_eval, start_time, "
        "learning_rate",
    ),
    Upstream(
        "transformers.Trainer._prepare_for_training",
        "hands over the prepared model, whose moving parameters are then listed once",
        "self, max_steps, train_dataloader, resume_from_checkpoint",
    ),
    Upstream(
        "transformers.Trainer._prepare_inputs",
        "moves a batch to the device",
        "self, inputs",
    ),
    Upstream(
        "transformers.Trainer._run_epoch",
        "goes on in the middle of an epoch, and validates one that was stopped before that",
        "self, model, epoch, train_dataloader, steps_in_epoch, num_update_steps_per_epoch, trial, "
        "ignore_keys_for_eval, start_time, resume_from_checkpoint, epochs_trained, "
        "steps_trained_in_current_epoch",
    ),
    Upstream(
        "transformers.Trainer._save_checkpoint",
        "writes ftkit's own checkpoint, which holds all that decides what comes next",
        "self, model, trial",
    ),
    Upstream(
        "transformers.Trainer._tr_loss",
        "is part of a checkpoint, so that a resumed run logs the same mean loss",
    ),
    Upstream(
        "transformers.Trainer.compute_loss",
        "scales targets, mixes images in pairs, and sums the loss over processes",
        "self, model, inputs, return_outputs, num_items_in_batch",
    ),
    Upstream(
        "transformers.Trainer.create_optimizer",
        "gives each group of parameters the learning rate of the strategy",
        "self, model",
    ),
    Upstream(
        "transformers.Trainer.create_scheduler",
        "raises the learning rate step by step in a range test",
        "self, num_training_steps, optimizer",
    ),
    Upstream(
        "transformers.Trainer.evaluate",
        "counts each validation row once for any number of processes, and can be interrupted",
        "self, eval_dataset, ignore_keys, metric_key_prefix",
    ),
    Upstream(
        "transformers.Trainer.floating_point_ops",
        "returns nothing, because counting them costs time in each step",
        "self, inputs",
    ),
    Upstream(
        "transformers.Trainer.get_decay_parameter_names",
        "says which parameters weight decay applies to",
        "self, model",
    ),
    Upstream(
        "transformers.Trainer.get_train_dataloader",
        "gives the rows of a step by seed, epoch and step alone, for any number of processes",
        "self",
    ),
    Upstream(
        "transformers.Trainer.train",
        "ends the thread that writes checkpoints, however training ends",
    ),
    Upstream(
        "transformers.Trainer.training_step",
        "keeps frozen layers in eval mode, and stops a run whose loss is not a number",
        "self, model, inputs, num_items_in_batch",
    ),
    Upstream(
        "torch.nn.Module.zero_grad",
        "is replaced on the model that Trainer trains, to clear only the gradients that move",
    ),
)

TRANSFORMERS = (
    Upstream(
        "transformers.EarlyStoppingCallback.check_metric_value",
        "counts validations without gain from the log, so that a resumed run counts the same",
        "self, args, state, control, metric_value",
    ),
    Upstream(
        "transformers.TrainerCallback.on_log", "writes log.jsonl, and the curve of a range test"
    ),
    Upstream("transformers.TrainerCallback.on_save", "ends a run that a signal has stopped"),
    Upstream(
        "transformers.TrainerCallback.on_step_end",
        "measures a step, and says when a checkpoint is due",
    ),
    Upstream("transformers.TrainerCallback.on_train_begin", "starts the clocks of a run"),
    Upstream(
        "transformers.PreTrainedModel._keys_to_ignore_on_save",
        "names parameters that are computed and that no file holds, as Marian's positions are",
    ),
    Upstream(
        "transformers.PreTrainedModel._no_split_modules",
        "names the layers that FSDP2 shares one by one",
    ),
    Upstream("transformers.trainer_utils.TrainOutput", "is the type of what Trainer.train returns"),
)

TORCH = (
    Upstream(
        "torch.nn.Module._apply",
        "moves the one buffer of a perceptron, of which its parameters are views",
        "self, fn, recurse",
    ),
    Upstream(
        "torch._dynamo.exc.TorchDynamoException",
        "is the kind of every error of compiling, which is told in one line",
    ),
    Upstream("torch.nn.Module.forward", "is what a module computes"),
    Upstream(
        "torch.nn.Module._modules",
        "makes a copy of a model whose body is replaced, to run the model's own code of its head",
    ),
    Upstream(
        "torch.nn.modules.batchnorm._BatchNorm",
        "is the base of every kind of batch normalisation, whose statistics are kept",
    ),
    Upstream(
        "torch.utils.data.DataLoader._iterator",
        "is the iterator whose processes end with the training; otherwise they live until gc",
    ),
    Upstream(
        "torch.utils.data.dataloader._MultiProcessingDataLoaderIter._shutdown_workers",
        "ends the processes that read rows; there is no public way",
        "self",
    ),
)

OTHERS = (
    Upstream(
        "onnxruntime.quantization.calibrate.CalibrationDataReader.get_next",
        "gives the quantiser training rows, one batch after the other, on which it sees ranges",
        "self",
    ),
    Upstream(
        "onnxruntime.quantization.shape_inference.quant_pre_process",
        "infers shapes and folds constants before a model is quantised",
    ),
    Upstream(
        "datasets.table.embed_table_storage",
        "puts the bytes of images into the files of rows that were given in memory",
    ),
    Upstream("evaluate.Metric._compute", "is where a metric computes its figures"),
    Upstream("evaluate.Metric._info", "is where a metric describes itself"),
    Upstream(
        "huggingface_hub.file_download.repo_folder_name",
        "names the folder of a repository in the Hub cache",
        "repo_id, repo_type",
    ),
    Upstream(
        "huggingface_hub.utils.httpx",
        "is the client that huggingface_hub itself uses; its package changed its name before",
    ),
    Upstream(
        "matplotlib.font_manager.FontProperties", "finds the font, to know which characters it has"
    ),
    Upstream("matplotlib.font_manager.findfont", "finds the file of the font of the pictures"),
    Upstream("matplotlib.font_manager.get_font", "reads which characters that font has"),
    Upstream("peft.tuners.lora.LoraLayer", "is the layer whose two matrices PiSSA sets"),
    Upstream(
        "peft.utils.ModulesToSaveWrapper",
        "is the head of an adapter beside the head as it was, which plays no part",
    ),
    Upstream(
        "PIL.JpegImagePlugin.JpegImageFile",
        "opens a JPEG alone, and tells whether an image can be decoded at a smaller size",
    ),
    Upstream(
        "ray.tune.schedulers.FIFOScheduler.on_trial_result",
        "cuts a trial off where the study says so",
        "self, tune_controller, trial, result",
    ),
    Upstream(
        "ray.tune.search.Searcher.on_trial_complete",
        "tells the study how a trial ended",
        "self, trial_id, result, error",
    ),
    Upstream("ray.tune.search.Searcher.restore", "does nothing, because the study is on the disk"),
    Upstream("ray.tune.search.Searcher.save", "does nothing, because the study is on the disk"),
    Upstream(
        "ray.tune.search.Searcher.suggest", "gives the next trial of the study", "self, trial_id"
    ),
    Upstream(
        "rich.console.Console.on_broken_pipe",
        "hands a broken pipe to the command, which ends with status 141",
        "self",
    ),
    Upstream("rich.console.Console.print", "ignores a remark that stderr cannot take"),
    Upstream(
        "sacrebleu.metrics.helpers.extract_all_char_ngrams",
        "counts the character n-grams of chrF, of which the bootstrap makes its draws",
        "line, max_order, include_whitespace",
    ),
    Upstream(
        "seqeval.metrics.sequence_labeling.get_entities",
        "finds the names in a row of tags, by the rule that the figures follow",
    ),
    Upstream(
        "timm.data.MaybeToTensor",
        "makes numbers of an image in timm's processors; ftkit makes them of a batch together",
    ),
)

NAMES = (*TRAINER, *TRANSFORMERS, *TORCH, *OTHERS)

DOCUMENTED = {
    "accelerate.utils", "huggingface_hub.errors", "huggingface_hub.utils.validate_repo_id",
    "matplotlib.axes", "matplotlib.figure", "matplotlib.ticker", "mlflow.entities",
    "onnxruntime.quantization",
    "mlflow.exceptions", "numpy.typing",
    "optuna.distributions", "optuna.exceptions", "optuna.storages", "optuna.storages.journal",
    "optuna.trial", "packaging.requirements", "packaging.version", "pyarrow.compute",
    "pyarrow.parquet", "ray.exceptions", "ray.tune", "ray.tune.schedulers", "ray.tune.search",
    "rich.console", "rich.table", "sacrebleu.metrics", "safetensors.torch", "scipy.optimize",
    "scipy.sparse", "scipy.spatial", "scipy.special", "scipy.stats", "seqeval.metrics",
    "sklearn.base", "sklearn.datasets", "sklearn.ensemble", "sklearn.exceptions",
    "sklearn.feature_extraction.text", "sklearn.linear_model", "sklearn.metrics",
    "sklearn.model_selection", "sklearn.multiclass", "sklearn.pipeline", "sklearn.preprocessing",
    "sklearn.utils", "sklearn.utils.multiclass",
    "sklearn.utils.validation", "sqlalchemy.exc", "starlette.applications",
    "starlette.exceptions", "starlette.requests", "starlette.responses", "starlette.routing",
    "torch.autograd.graph", "torch.distributed",
    "torch.distributed.tensor", "torch.nn", "torch.optim.lr_scheduler", "torch.utils.data",
    "torch.utils.tensorboard",
    "torchvision.transforms", "transformers.modeling_outputs", "transformers.utils.logging",
}  # fmt: skip
"""Inner modules, and a few names in them, whose place is documented by their packages."""
