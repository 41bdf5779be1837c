"""The model inside of the package, drawn without a tensor library by a runtime of graphs."""
