#!/usr/bin/env python3
"""LitServe over onnxruntime.

    pip install -r benches/http-requirements.txt
    python benches/http_peers/litserve_server.py --port 8080 --workers 1 --threads 2 --batch 8

POST /classify takes a multipart body, whose part `file` is the photo.
"""

import argparse
import os

import litserve
import numpy as np
from fastapi import Request

from classifier import Classifier


class Moths(litserve.LitAPI):
    def __init__(self, threads: int, **settings):
        super().__init__(api_path="/classify", **settings)
        self.threads = threads

    def setup(self, device: str) -> None:
        self.classifier = Classifier(self.threads)

    # For a parameter of the type Request, LitServe passes the form.
    def decode_request(self, request: Request) -> np.ndarray:
        return self.classifier.decode(request["file"].file)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classifier.infer(x)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output[:, None])

    def encode_response(self, output: np.ndarray) -> dict:
        return self.classifier.answer(output[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080, help="port on 127.0.0.1 (default 8080)")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with a session (default 1)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of an inference (default: CPUs)")
    parser.add_argument("--batch", type=int, default=1, help="largest batch (default 1)")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds that a batch waits for photos (default 0)")
    parser.add_argument("--fast-queue", action="store_true", help="pass requests between processes by ZeroMQ")
    arguments = parser.parse_args()
    server = litserve.LitServer(
        Moths(arguments.threads, max_batch_size=arguments.batch, batch_timeout=arguments.wait),
        accelerator="cpu",
        workers_per_device=arguments.workers,
        fast_queue=arguments.fast_queue,
    )
    server.run(
        host="127.0.0.1",
        port=arguments.port,
        # One HTTP process is enough for the few requests per second that two CPUs classify.
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
