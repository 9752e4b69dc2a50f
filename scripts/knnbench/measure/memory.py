"""Memory that a worker takes, phase by phase."""

from knnbench.system import gpu
from knnbench.system.machine import peak_memory, reset_peak_memory


class Memory:
    """Memory of this process by the kernel, on the host, and by its driver on the device, libraries' pools included."""

    def __init__(self, device, reporter):
        self.reporter = reporter
        self.on_device = gpu.Memory() if device == "gpu" else None
        self.base = self.device_base = self.largest = 0

    def report(self, phase):
        """Report the largest memory of a phase that is over: the process's peak, and what the device's pools have kept.

        "loaded" is what is taken with library and data loaded; later phases are above that.
        """
        self.largest = max(self.largest, peak_memory())
        if phase == "loaded":  # now, not at the peak of the import
            reset_peak_memory()
        peak = peak_memory()
        on_device, of = self.on_device.taken() if self.on_device else (None, None)
        self.reporter.add(memory_bytes={phase: peak - self.base}, peak_rss_bytes=self.largest)
        if on_device is not None:
            self.reporter.add(device_memory_bytes={phase: on_device - self.device_base}, device_memory_of={phase: of})
        if phase == "loaded":
            self.base, self.device_base = peak, on_device or 0
        reset_peak_memory()
