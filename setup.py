"""Packaging. Lower bounds here; exact versions in constraints.txt."""

import setuptools

RUNTIME = [
  'absl-py>=2.1',
  'array-record>=0.8; platform_system != "Windows"',
  'chex>=0.1.90',
  'flatbuffers>=25',  # jax.export writes with it, undeclared
  'flax>=0.12',
  'grain>=0.2.18',
  'importlib-resources>=6',  # tensorflow-datasets reads with it, undeclared
  'jax>=0.10',
  'matplotlib>=3.9',
  'ml-collections>=1.0',
  'networkx>=3.3',
  'numpy>=2.0',
  'optax>=0.2.8',
  'orbax-checkpoint>=0.12',
  'pillow>=11',
  'psutil>=5.9',
  'scikit-learn>=1.5',
  'scipy>=1.13',
  'tensorflow-datasets>=4.9.9',
  'tqdm>=4.66',
]
TEST = [
  'cvxpy>=1.6',
  'hypothesis>=6.100',
  'mypy>=1.15',
  'pytest>=8',
  'pytest-xdist>=3.6',
  'ruff>=0.12',
]
DISTRIBUTED = ['ray>=2.40']  # workers and sweeps
BENCHMARK = ['torch>=2.5']  # to compare with, in benchmarks only

setuptools.setup(
  name='irlas_jax',
  version='0.1.0',
  description='Neural architecture search by reinforcement learning, in JAX.',
  license='Apache-2.0',
  python_requires='>=3.11',
  packages=setuptools.find_packages(
    include=['irlas_jax', 'irlas_jax.*', 'launch', 'configs', 'configs.*']
  ),
  install_requires=RUNTIME,
  extras_require={
    'test': TEST,
    'distributed': DISTRIBUTED,
    'benchmark': BENCHMARK,
  },
)
