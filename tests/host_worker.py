"""One process of a run on several: `python tests/host_worker.py INDEX COUNT PORT FOLDER STEPS`.

Trains the tiny model on a packed stream of numbers and keeps this process's part of every batch.
"""

import os
import sys

os.environ.update(JAX_PLATFORMS='cpu', TF_CPP_MIN_LOG_LEVEL='3')


def main(index: int, count: int, port: int, folder: str, steps: int) -> None:
  import jax

  jax.config.update('jax_num_cpu_devices', 2 // count)
  from t5x import hosts

  if count > 1:
    hosts.join(f'localhost:{port}', count, index)
  import numpy as np

  from t5x import input_pipeline, optimizers, partitioning, train
  from t5x.checkpoint_config import CheckpointConfig, SaveCheckpointConfig
  from t5x.examples.unified_io.packing import PackingStrategy
  from tests import tiny_tasks, tiny_training

  kept = []

  class Kept:
    """Batches of the stream, of which copies are kept."""

    def __init__(self, *args):
      self._batches = input_pipeline.open_train(*args)

    def __next__(self):
      kept.append(next(self._batches))
      return kept[-1]

    def __getattr__(self, name):
      return getattr(self._batches, name)

  tasks = {'hosts': (tiny_tasks.Numbers(40), [])}
  with tiny_tasks.registered(tasks, last=tiny_tasks.make_masks):
    state = train.train(
      model=tiny_training.TinyModel(),
      optimizer=optimizers.adamw(0.1),
      train_dataset_cfg=input_pipeline.DatasetConfig(
        'hosts', {'inputs': 2}, 'train', tiny_training.ROWS, virtual_shards=2, shuffle_window=4,
        packing=PackingStrategy((12, 10), pack_pool_size=4, latents={'image_history': 1}),
      ),
      checkpoint_cfg=CheckpointConfig(save=SaveCheckpointConfig(period=steps)),
      partitioner=partitioning.PjitPartitioner(1),
      model_dir=os.path.join(folder, 'run'),
      total_steps=steps,
      random_seed=0,
      open_batches=Kept,
    )  # fmt: skip
  arrays = {f'{i}/{name}': x for i, batch in enumerate(kept) for name, x in batch.items()}
  params = {f'params/{i}': x for i, x in enumerate(jax.tree.leaves(state.params))}
  np.savez(os.path.join(folder, f'{steps}_{index}_of_{count}.npz'), **arrays, **params)


if __name__ == '__main__':
  number, total, free_port, where, last = sys.argv[1:]
  main(int(number), int(total), int(free_port), where, int(last))
