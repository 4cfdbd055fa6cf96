"""The parts of the killer test: a plan drawn from a seed, agents whose every byte is known, clients
that ask until they are answered, and a verdict."""
