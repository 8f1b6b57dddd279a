"""A tf.data service for `distributed_training.py --data-service`: a dispatcher and data workers in one process."""

import argparse

import tensorflow as tf

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="of the dispatcher; 0 takes a free one")
    parser.add_argument("--workers", type=int, default=1, help="data workers")
    options = parser.parse_args()

    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=options.port))
    address = dispatcher.target.removeprefix("grpc://")
    workers = [service.WorkerServer(service.WorkerConfig(address)) for _ in range(options.workers)]
    print(address, flush=True)
    dispatcher.join()
