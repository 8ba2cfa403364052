"""The one thread that runs torch on a device, and the words for how a device fails."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

import torch

from service.inference.executions import DeviceLost, OutOfDeviceMemory

P = ParamSpec("P")
T = TypeVar("T")
_CPU_MEMORY: Final = "can't allocate memory"  # torch's CPU allocator raises a plain RuntimeError with these words


class DeviceThread:
    """Runs calls on one device, one after another.

    Args:
        name: of the device; the thread carries it.
    """

    def __init__(self, name: str) -> None:
        self.lost = False
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"torch-{name}")

    async def run(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Return what `call` returns in the device's thread.

        Raises:
            OutOfDeviceMemory: the device had not enough memory.
            DeviceLost: the device failed in a way that no later call of this process survives.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, lambda: call(*arguments, **named))
        except torch.OutOfMemoryError as error:
            raise OutOfDeviceMemory(str(error)) from error
        except torch.AcceleratorError as error:
            self.lost = True
            raise DeviceLost(str(error)) from error
        except RuntimeError as error:
            if _CPU_MEMORY in str(error):
                raise OutOfDeviceMemory(str(error)) from error
            raise

    def close(self) -> None:
        """Begin no further call."""
        self._executor.shutdown(wait=False, cancel_futures=True)
