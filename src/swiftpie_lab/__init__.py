"""The lab of SwiftPie: training pictures, training, evaluation."""
