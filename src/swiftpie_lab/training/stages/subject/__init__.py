"""Stages that tune a published backbone to one subject, and a multi-step teacher of it."""
