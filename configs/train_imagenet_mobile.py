r"""Full training of the published IRLAS-mobile network on ImageNet.

python -m launch.train --config=configs/train_imagenet_mobile.py \
  --config.data_dir=... --workdir=runs/irlas_mobile

The paper's: the network, released with its weights, which reach 75.15 % top-1
(9.96 M parameters, 1,419 M multiply-adds at 224x224). Ours: all of the recipe,
since the paper's training is not published in what we could read. It follows
what is usual for searched mobile networks: 250 epochs of SGD, weight decay 3e-5
of kernels only, label smoothing of 0.1, gradients clipped at 5, random resized
crops and flips; and, for batches of 1,024 over several devices, a learning rate
of 0.5 after five epochs of warm-up, a cosine, bfloat16 and an average of the
weights, which is what is tested.

The accuracy that it reaches has not been measured yet. The 50,000 images that
are called 'validation' are the test images here, used once; 10,000 training
images are kept to watch by. Meant for accelerators; the data have to be
prepared by TFDS: tfds build imagenet2012 --file_format=array_record.
"""

import ml_collections


def get_config():
  """1,271,167 training images, 10,000 to watch by, 50,000 used once."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dataset = 'imagenet2012'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.stream = dict(
    image_size=224,
    resize=256,  # of the shorter side, before the centre is cut out for scoring
    min_area=0.08,  # least share of an image that a training crop has
    valid_size=10000,
    threads=16,  # that decode, on each host
  )
  config.network = dict(
    name='irlas_mobile',  # or mobilenet_v2
    mobilenet_v2=dict(multiplier=1.0),
  )
  config.train = dict(
    epochs=250,
    evaluations=250,  # on validation data; a divisor of epochs
    batch_size=1024,  # over all devices
    optimizer='sgd',  # sgd (Nesterov), adam or muon
    learning_rate=0.5,
    schedule='cosine',  # cosine, step or constant
    warmup_epochs=5.0,
    momentum=0.9,
    weight_decay=3e-5,
    label_smoothing=0.1,
    clip_norm=5.0,  # 0 does not clip
    bfloat16=True,
    patience=0,  # evaluations without a better one before a stop; 0 never
    mirror=True,
    mixup=0.0,  # alpha of the mixing share's Beta(alpha, alpha); 0 never mixes
    ema_decay=0.9999,  # of the average of weights that is tested; 0 has none
  )
  return config
