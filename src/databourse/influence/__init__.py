"""What documents do to the loss on target tasks: influence, datamodels, and who is worth asking."""
