"""Installs the framework; `constraints.txt` holds the exact versions that `make` uses."""

import pathlib

import setuptools

JAX_LANE = [
  'jax>=0.10.0,<0.13',  # Python 3.11 stops at 0.10.2
  'flax>=0.12.8,<0.13',
  'optax>=0.2.8,<0.3',
  'orbax-checkpoint>=0.12.8,<0.13',
  'tensorstore>=0.1.84',
  'msgpack>=1.1',
  'safetensors>=0.6',
  'jaxtyping>=0.3',
  'numpy>=2.0',
  'absl-py>=2.1',
]

TF_LANE = [
  'seqio>=0.0.20',
  'gin-config>=0.5.0',
  'clu>=0.0.12',
  'tensorflow>=2.21,<2.22',
  'tensorflow-text>=2.21,<2.22',  # minor version must equal tensorflow's
  'tensorflow-datasets>=4.9.10',
  'array_record>=0.8; sys_platform == "linux"',
  'tensorboard>=2.20',  # clu needs it, tensorflow no longer brings it
  'importlib_resources',  # tensorflow-datasets forgets it
  'sentencepiece>=0.2.1,<0.2.3',  # 0.2.3 needs a protobuf that apache-beam forbids
  'Pillow>=12',
  'soundfile>=0.13',
  'soxr>=1.0',
  'scipy>=1.15',
  'matplotlib>=3.10',
  'wandb>=0.25',
]

EXTRAS = {
  'data': ['pycocotools>=2.0.11', 'scikit-image>=0.26', 'av>=17', 'pyarrow>=20', 'datasets>=4'],
  'data-beam': ['apache-beam>=2.77', 'google-crc32c'],
  'eval': ['pycocoevalcap>=1.2', 'sacrebleu>=2.6', 'rouge-score>=0.1.2', 'scikit-learn'],
  'demo': ['gradio>=6,<7', 'jupyter', 'nbclient', 'ipykernel'],
  'gpu': ['jax[cuda13]'],
  'tpu': ['jax[tpu]'],
}
EXTRAS['test'] = [
  'pytest>=9',
  'pytest-xdist>=3.8',
  'hypothesis',
  'beartype>=0.22',
  'ruff>=0.17',
  'mypy>=2.4',
  *EXTRAS['data'],
  *EXTRAS['eval'],
]

setuptools.setup(
  name='unified-io-2',
  version='0.1.0',
  description='Unified-IO 2, rebuilt: one model for text, images, audio, video and actions',
  long_description=pathlib.Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11,<3.14',
  packages=setuptools.find_namespace_packages(include=['t5x*', 'create_data*']),
  include_package_data=True,
  package_data={'': ['*.gin', '*.json', '*.model', '*.csv', '*.jpg', '*.png', '*.wav', '*.html']},
  install_requires=[*JAX_LANE, *TF_LANE],
  extras_require=EXTRAS,
)
