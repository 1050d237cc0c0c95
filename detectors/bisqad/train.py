"""Training BiSQAD (MaPhC2F, section 3.3): the base model in the inner loop, qualities and data weights in the outer one."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from detectors.bisqad.data import CachedFeatures
from detectors.bisqad.losses import criteria
from detectors.bisqad.model import BiSQAD, Output, RealNet, anomaly_maps
from detectors.bisqad.outer import auc_loss, influences, outer_gradients, smooth_maximum, update
from detectors.bisqad.sqe import Estimator, LossTrack, sample_weights, targets
from detectors.contract import MeasureTest, TrainingOptions
from detectors.data.held_out import scored
from detectors.results import ScoredImage
from detectors.training.loop import EpochTraining, train_epochs
from synthgen.errors import UsageError
from synthgen.runs.folder import RunFolder, below
from synthgen.runs.steps import check_finite, generator, order
from synthgen.training.loop import OnUnit

QUALITY = "samples.json"
_SCORED_AT_ONCE = 16
_ESTIMATED_AT_ONCE = 256
_OUTER_SHARE = 0.5  # of an epoch's batches that an outer loop looks at, so that it costs less than half an epoch of five
_VALIDATION = 8  # normal images, and as many anomalies, in the loss of an outer step


def train(
    model: BiSQAD,
    data: CachedFeatures,
    run: RunFolder,
    options: TrainingOptions,
    on_epoch: OnUnit = lambda epoch, epochs, measured: None,
    measure_test: MeasureTest | None = None,
) -> None:
    """Train `model.base`, which is initialised here; see `train_epochs`."""
    bilevel = BilevelTraining(model, data, options)
    training = EpochTraining(
        train_epoch=bilevel.train_epoch,
        scored=bilevel.scored,
        state=model.state_of_run,
        load_state=bilevel.load_state,
        optimizers={"base": bilevel.optimizer},
        selectable=bilevel.selectable,
        tensors=bilevel.tensors,
        facts=lambda: {"fits": bilevel.fits},
        restore=bilevel.restore,
        finish=lambda run: run.write(QUALITY, bilevel.samples()),
    )
    train_epochs(training, model.config.epochs, run, options, on_epoch, measure_test)


class BilevelTraining:
    """One training in the works.

    Attributes:
        optimizer: of the base model.
        fits: how often the estimator was fitted.
    """

    def __init__(self, model: BiSQAD, data: CachedFeatures, options: TrainingOptions) -> None:
        self.model, self.config, self.data, self.options = model, model.config, data, options
        self.device = options.compute.device
        torch.manual_seed(options.seed)
        fresh = RealNet(self.config)
        model.base.load_state_dict(fresh.state_dict())
        self.optimizer = torch.optim.Adam(model.base.parameters(), self.config.learning_rate, fused=True)
        count = len(data.learned)
        # losses fall while one trains: compared are those relative to the other anomalies of the step
        self.track, self.relative, self.anomaly_track = LossTrack(count), LossTrack(count), LossTrack(count)
        self.estimator = model.estimator
        self.estimator.load_state_dict(Estimator(data.pooled.shape[1]).state_dict())
        self.data_weights, self.moments = torch.ones(count), torch.zeros(3, count)
        self.quality = torch.full((count,), 0.5)
        self.epochs_done = 0
        self.fits = 0
        self.validation, self.judged = divided(data)

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """One epoch, and the outer loop after it where it is due."""
        measured = self.inner_loop(epoch)
        check_finite(measured, epoch)
        self.epochs_done = epoch
        return measured | self.outer_loop()

    @property
    def _loops(self) -> bool:
        """Whether there is an outer loop, and something for it to learn from."""
        config = self.config
        asked = config.outer and (config.data_weight or (config.sqe and config.sqe_weight))
        return bool(asked and all(self.validation))

    @property
    def _lambdas(self) -> tuple[float, float]:
        """Weights of quality and of data weights; both 0 in the warm-up."""
        if self.epochs_done < self.config.warm_up:
            return 0.0, 0.0
        return (self.config.sqe_weight if self.config.sqe else 0.0), self.config.data_weight

    def inner_loop(self, epoch: int) -> dict[str, float]:
        """One pass over the training images; the mean losses."""
        self.model.base.train()
        forward = torch.compile(self.model.base) if self.options.compute.compile else self.model.base
        sums = torch.zeros(4, device=self.device)
        count = 0
        for normals, learned in self._batches(epoch):
            features, clean, masks, synthetic = self._read(normals, learned)
            with self.options.compute.autocast():
                output = forward(features)
            terms = criteria(output, clean, masks, self.config.mask_weight)
            weights = self._weights(learned, synthetic)
            loss = (weights * terms.total).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            losses = terms.total.detach()[synthetic].cpu()
            self.track.update(learned, losses)
            self.relative.update(learned, losses / losses.mean().clamp(min=1e-12))
            self.anomaly_track.update(learned, terms.anomaly.detach()[synthetic].cpu())
            means = [loss, terms.pixel.mean(), terms.reconstruction.mean(), terms.anomaly[synthetic].mean()]
            sums += torch.stack([mean.detach() for mean in means])
            count += 1
        names = ("loss", "loss_pixel", "loss_reconstruction", "loss_anomaly")
        return dict(zip(names, (sums / count).tolist(), strict=True))

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows of normal images and of anomalies of each step; each normal image once, anomalies as far as they are needed."""
        anomalies = max(1, min(round(self.config.batch_size * self.config.synthetic_share), self.config.batch_size - 1))
        normals = torch.split(order(len(self.data.normals), self.options.seed, epoch), self.config.batch_size - anomalies)
        done = (epoch - 1) * len(normals) * anomalies
        laps: dict[int, Tensor] = {}
        for step, rows in enumerate(normals):
            learned = []
            for k in range(done + step * anomalies, done + (step + 1) * anomalies):
                lap, place = divmod(k, len(self.data.learned))
                if lap not in laps:
                    laps[lap] = torch.randperm(len(self.data.learned), generator=generator(self.options.seed, "anomalies", lap))
                learned.append(laps[lap][place])
            yield rows, torch.stack(learned)

    def _read(self, normals: Tensor, learned: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        """Features, those without anomalies, masks, and which of them have anomalies."""
        data = self.data
        plain = data.normals[normals]
        both = torch.cat([plain, data.learned[learned]])
        clean = torch.cat([plain, data.normals[data.normal_of[learned]]])
        masks = torch.cat([torch.zeros(len(normals), *data.masks.shape[1:], dtype=torch.bool), data.masks[learned]])
        synthetic = torch.arange(len(both)) >= len(normals)
        return data.levels(both), data.levels(clean), masks.to(self.device), synthetic.to(self.device)

    def _weights(self, learned: Tensor, synthetic: Tensor, quality: Tensor | None = None) -> Tensor:
        """Weights of a batch: normals first, then anomalies."""
        padded = torch.zeros(len(synthetic), device=self.device), torch.zeros(len(synthetic), device=self.device)
        quality = self.quality[learned].to(self.device) if quality is None else quality
        padded[0][synthetic] = quality
        padded[1][synthetic] = self.data_weights[learned].to(self.device)
        return sample_weights(*padded, synthetic, *self._lambdas)

    def outer_loop(self) -> dict[str, float]:
        """Fit the estimator to the losses so far, and improve it and the data weights by held-out images."""
        config = self.config
        due = self.epochs_done >= config.warm_up and (self.epochs_done - config.warm_up) % config.outer_every == 0
        if not due or not (config.sqe or self._loops):
            return {}
        measured = {}
        if config.sqe:
            measured["sqe_error"] = self.estimator.fit(
                self.data.pooled.to(self.device),
                targets(self.relative.mean, config.sqe_target, config.loss_scaling),
                learning_rate=config.sqe_learning_rate,
                epochs=config.sqe_epochs,
                batch_size=_ESTIMATED_AT_ONCE,
                generator=generator(self.options.seed, "estimator", self.epochs_done),
            )
            self.fits += 1
        if self._loops:
            measured["outer_loss"] = self._improve()
        with torch.no_grad():
            self.quality = self.estimator(self.data.pooled.to(self.device)).cpu()
        if config.sqe:
            measured |= {"quality_mean": float(self.quality.mean()), "quality_deviation": float(self.quality.std(correction=0))}
        if config.data_weight:
            measured["data_weight_deviation"] = float(self.data_weights.std(correction=0))
        return measured

    def _improve(self) -> float:
        """One outer loop (section 6.3); the mean validation loss after the inner steps."""
        base, config = self.model.base.eval(), self.config
        params = {name: value.detach() for name, value in base.named_parameters()}
        every = list(self._batches(self.epochs_done))
        layer = list(self.estimator.parameters())
        gradient = torch.zeros_like(self.data_weights)
        moves = [torch.zeros_like(parameter) for parameter in layer]
        seen: list[float] = []
        count = max(1, round(_OUTER_SHARE * len(every)))
        for number, (normals, learned) in enumerate(every[:count], self.epochs_done * count):
            features, clean, masks, synthetic = self._read(normals, learned)
            data_weights = self.data_weights[learned].clone().requires_grad_()
            quality = self.estimator(self.data.pooled[learned].to(self.device))
            nothing = torch.zeros(len(synthetic), device=self.device)
            padded = [nothing.masked_scatter(synthetic, values) for values in (quality, data_weights.to(self.device))]
            weights = sample_weights(padded[0], padded[1], synthetic, *self._lambdas)
            losses = partial(_losses_at, base, features, clean, masks, config.mask_weight)
            validation = partial(self._validation_at, *self._validation_batch(number), seen)
            influence = influences(losses, params, weights, validation, config.inner_learning_rate)
            slopes = outer_gradients(weights, influence, config.inner_learning_rate, [data_weights, *layer])
            gradient.index_add_(0, learned, slopes[0])
            moves = [move + part for move, part in zip(moves, slopes[1:], strict=True)]
        if config.data_weight:
            self.data_weights, self.moments = update(
                self.data_weights, gradient, config.outer_learning_rate, config.outer_update, self.moments
            )
        if config.sqe:
            with torch.no_grad():
                for parameter, move in zip(layer, moves, strict=True):
                    step = (
                        config.outer_learning_rate * move
                        if config.outer_update == "sgd"
                        else config.sqe_learning_rate * move.sign()
                    )
                    parameter.sub_(step)
        base.train()
        return float(np.mean(seen))

    def _validation_at(self, features: list[Tensor], labels: Tensor, seen: list[float], params: Mapping[str, Tensor]) -> Tensor:
        """The validation loss at parameters: an AUC over held-out images and anomalies made of them."""
        maps = anomaly_maps(_output_at(self.model.base, features, params).logits)
        scores = smooth_maximum(maps, self.config.pool, max(self.config.pool // 4, 1), self.config.auc_tau)
        loss = auc_loss(scores, labels, self.config.auc_alpha)
        seen.append(float(loss.detach()))
        return loss

    def _validation_batch(self, number: int) -> tuple[list[Tensor], Tensor]:
        """Held-out features of some normal images and anomalies, and which are anomalous."""
        rows = []
        for group in self.validation:
            start = number * _VALIDATION
            rows += [group[k % len(group)] for k in range(start, start + min(_VALIDATION, len(group)))]
        labels = torch.tensor([bool(self.data.images[row].label) for row in rows])
        return self.data.levels(self.data.held_out[torch.tensor(rows)]), labels.to(self.device)

    def selectable(self) -> dict[str, Tensor]:
        """All but the estimator."""
        # the estimator is that of the last fit, whatever epoch detects best
        return {name: value for name, value in self.model.state_of_run().items() if not name.startswith("estimator.")}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_of_run` gave earlier.

        Raises:
            UsageError: it is of a model that looks at other channels.
        """
        now = self.model.state_of_run()
        if any(not torch.equal(state[name].cpu(), now[name].cpu()) for name in now if name.startswith("features.")):
            raise UsageError(
                "the run's checkpoint looks at other channels than are chosen here, on another device or with "
                "other libraries. Go on where it began, or choose another --out."
            )
        self.model.load_state_of_run(state)

    def scored(self) -> list[ScoredImage]:
        """What the detector says about held-out images, but for those that are the outer loop's."""
        data, rows = self.data, self.judged
        self.model.base.eval()
        images: list[ScoredImage] = []
        with torch.inference_mode(), self.options.compute.autocast():
            for start in range(0, len(rows), _SCORED_AT_ONCE):
                batch = rows[start : start + _SCORED_AT_ONCE]
                maps, scores = self.model.score(data.levels(data.held_out[torch.tensor(batch)]))
                images += scored([data.images[k] for k in batch], maps.float().cpu().numpy(), scores.tolist())
        return images

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds beside the model and its optimizer."""
        tensors = {f"track.{name}": value for name, value in self.track.state_dict().items()}
        tensors |= {f"relative.{name}": value for name, value in self.relative.state_dict().items()}
        tensors |= {f"anomaly_track.{name}": value for name, value in self.anomaly_track.state_dict().items()}
        return tensors | {"data_weights": self.data_weights, "moments": self.moments, "quality": self.quality}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, float]) -> None:
        """Take over what `tensors` gave earlier, and the counts."""
        self.relative.load_state_dict(below(tensors, "relative."))
        self.track.load_state_dict(below(tensors, "track."))
        self.anomaly_track.load_state_dict(below(tensors, "anomaly_track."))
        self.data_weights, self.moments, self.quality = (tensors[name] for name in ("data_weights", "moments", "quality"))
        self.epochs_done, self.fits = int(facts["epoch"]), int(facts["fits"])

    def samples(self) -> dict[str, Any]:
        """What was learned about each anomaly, for `detectors score-samples`."""
        columns = {
            "quality": self.quality,
            "data_weight": self.data_weights,
            "loss_mean": self.track.mean,
            "loss_deviation": self.track.deviation,
            "anomaly_loss": self.anomaly_track.mean,
            "seen": self.track.times,
        }
        plain = {name: [None if value != value else value for value in column.tolist()] for name, column in columns.items()}
        return {"sample_id": list(self.data.ids), "fits": self.fits, **plain}


def divided(data: CachedFeatures) -> tuple[tuple[list[int], list[int]], list[int]]:
    """Held-out images as the outer loop's, normal ones and anomalies, and those that selection and thresholds are judged by.

    Every other source goes to the outer loop, with the anomalies made of it: what it learns from must say nothing about
    thresholds. That holds where there is no outer loop, too, so that trainings with and without are judged alike.
    """
    given = set(sorted({image.source for image in data.images})[1::2])
    of_outer = [k for k, image in enumerate(data.images) if image.source in given]
    judged = [k for k, image in enumerate(data.images) if image.source not in given]
    normals = [k for k in of_outer if not data.images[k].label]
    return (normals, [k for k in of_outer if data.images[k].label]), judged


def _output_at(base: RealNet, features: list[Tensor], params: Mapping[str, Tensor]) -> Output:
    """What the base model says at other parameters than its own."""
    output: Output = functional_call(base, (dict(params), dict(base.named_buffers())), (features,))
    return output


def _losses_at(
    base: RealNet,
    features: list[Tensor],
    clean: list[Tensor],
    masks: Tensor,
    mask_weight: float,
    params: Mapping[str, Tensor],
) -> Tensor:
    """(B,) losses of a batch at parameters."""
    return criteria(_output_at(base, features, params), clean, masks, mask_weight).total
