"""Distribution matching of the adapter's pictures to those of a personalised teacher."""
