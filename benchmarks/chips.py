"""What vendors say their GPUs can do: dense bfloat16 matmuls on tensor cores, in FLOP/s. Data sheets have twice that,
with 2:4 sparsity (in brackets). The numbers are as commonly quoted: NVIDIA's pages could not be opened."""

# The first name that the device's kind contains counts, so variants stand before their family.
PEAKS: tuple[tuple[str, float, str], ...] = (
    ("B200", 2250e12, "https://resources.nvidia.com/en-us-blackwell-architecture (4.5 PFLOPS sparse)"),
    ("H200 NVL", 835.5e12, "https://www.nvidia.com/en-us/data-center/h200/ (1,671 TFLOPS sparse)"),
    ("H200", 989.5e12, "https://www.nvidia.com/en-us/data-center/h200/ (1,979 TFLOPS sparse)"),
    ("H100 NVL", 835.5e12, "https://www.nvidia.com/en-us/data-center/h100/ (1,671 TFLOPS sparse)"),
    ("H100 PCIe", 756.5e12, "https://resources.nvidia.com/en-us-tensor-core/nvidia-tensor-core-gpu-datasheet (1,513)"),
    ("H100", 989.5e12, "https://www.nvidia.com/en-us/data-center/h100/ (1,979 TFLOPS sparse)"),
    ("A100", 312e12, "https://www.nvidia.com/en-us/data-center/a100/ (624 TFLOPS sparse)"),
    ("L40S", 362e12, "https://www.nvidia.com/en-us/data-center/l40s/ (362 TFLOPS, 733 sparse)"),
    ("L4", 121e12, "https://www.nvidia.com/en-us/data-center/l4/ (242 TFLOPS sparse)"),
)


def vendor_peak(kind: str) -> float | None:
    """FLOP/s of a device of that kind, such as "NVIDIA H100 80GB HBM3"; None for one that is not listed."""
    words = f" {kind} ".replace("-", " ")
    return next((peak for name, peak, _ in PEAKS if f" {name} " in words), None)
