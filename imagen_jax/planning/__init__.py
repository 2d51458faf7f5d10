"""Planning: what a training job costs on devices that are not there."""
