"""MW-Net: sample weights as a function of the loss, learnt from a small meta set (Shu et al. 2019)."""

from __future__ import annotations

from noisybench.methods.meta_weighting import MetaEvery, MetaRate, MetaSize, MetaWeighting, WarmUp
from noisybench.methods.one_network import refuse_mixup
from noisybench.methods.task import Task
from noisybench.registry import algorithm


@algorithm("meta_weight_net", cite="shu2019mwnet")
class MetaWeightNet(MetaWeighting):
    """MW-Net: ``mean_i V(l_i) l_i``, V learnt so that a step on it lowers the loss on a meta set  (Shu et al. 2019).

    V is a network of 100 hidden units from a loss to a weight in (0, 1). At every ``meta_every``-th step, from the
    batch's losses l(w):

        w'(theta) = w - lr d/dw mean_i V_theta(l_i) l_i          (l_i as the input of V without gradient)
        theta <- Adam(theta, d/dtheta  mean_j CE(w'(theta); x_j, y_j))      over a batch of meta images j

    exactly, through second derivatives; then w takes a step of the suite's optimiser on the loss weighted by the new
    theta. Both passes run in train mode, and batch-norm statistics forget them. lr is the suite's current one, and the
    virtual step is plain gradient descent whatever the optimiser (no momentum, no decay, no SAM; with Adam it is a step
    of Adam's size along the raw gradient). l is the suite's loss; the meta loss is the cross entropy.

    Meta set: with ``oracle: true`` ``meta_size`` images with their **clean** labels, the same number of each class,
    drawn at random, which leave the training part (null: 2 % of it, the authors' 1,000 of 50,000). Otherwise nothing
    clean is used: before each epoch the images of each noisy class with the smallest losses (null: 10 a class) become
    the meta set and stay in the training part, after ``warm_up`` epochs on all labels alike (null: 10, 0 with
    ``oracle``; at most half of the run), as the authors themselves do where nobody has clean images (MW-Net in the code
    of CMW-Net, ANIMAL-10N: ``warm_up: 20``, ``meta_every: 10``).

    Authors' training (``recipe: authors``), ResNet-32, with ``oracle: true, meta_lr: 0.001``:

        training: {epochs: 120, batch_size: 100, augment: [{crop: {padding: 4, mode: reflect}}, flip],
                   optimizer: {name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 5e-4},
                   schedule: {name: multistep, milestones: [80, 100], gamma: 0.1}}

    As in their later code (``MW-Net.py``) weights are not brought to sum 1, and Adam trains V; the older
    ``train_WRN-28-10_Meta_PGC.py`` does the first and takes SGD. ``weight_mean``: of the last epoch. A step with its
    meta step counts B + b gradients and a second pass through B beside its own, about three plain steps. Memory: one
    network, V, and the activations of a batch, its gradient's graph and a meta batch together.
    """

    def __init__(
        self,
        task: Task,
        *,
        oracle: bool = False,
        meta_size: MetaSize | None = None,
        meta_every: MetaEvery = 1,
        warm_up: WarmUp | None = None,
        meta_lr: MetaRate = 1e-3,
    ) -> None:
        super().__init__(
            task, oracle=oracle, meta_size=meta_size, meta_every=meta_every, warm_up=warm_up, meta_lr=meta_lr
        )
        refuse_mixup(task)
