"""FastAPI and uvicorn over onnxruntime: the service that people write first.

    pip install -r benches/http-requirements.txt
    INFERENCE_THREADS=2 uvicorn fastapi_server:app --factory --app-dir benches/http_peers --workers 1

POST /classify takes a multipart body, whose part `file` is the photo.
"""

import asyncio
import io
import os
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, UploadFile

from classifier import Classifier


def app() -> FastAPI:
    """The application of one worker, a process."""
    classifier = Classifier(int(os.environ["INFERENCE_THREADS"]))
    # Pillow and onnxruntime release the GIL, so one thread for each CPU keeps all CPUs busy. FastAPI's own pool, which
    # runs functions without `async`, has 40 threads. With it the process took twice the memory under load.
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    application = FastAPI()

    def work(photo: bytes) -> dict:
        return classifier.answer(classifier.infer(classifier.decode(io.BytesIO(photo)))[0])

    @application.post("/classify")
    async def classify(file: UploadFile) -> dict:
        return await asyncio.get_running_loop().run_in_executor(pool, work, await file.read())

    return application
