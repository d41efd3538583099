"""A model for fault tests: the one of the repository, which sleeps `sleep_ms` before each batch."""

import importlib.util
import json
import time


def _parameters(args):
    return {k: v["string_value"] for k, v in json.loads(args["model_config"])["parameters"].items()}


class TritonPythonModel:
    def initialize(self, args):
        parameters = _parameters(args)
        spec = importlib.util.spec_from_file_location("real_model", parameters["real_model"])
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._seconds = float(parameters["sleep_ms"]) / 1000
        self._real = module.TritonPythonModel()
        self._real.initialize(args)

    def execute(self, requests):
        time.sleep(self._seconds)
        return self._real.execute(requests)
