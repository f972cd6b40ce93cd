"""From a finished run to one file that answers anywhere: made, proven, made smaller, measured."""
