import subprocess
import sys


def test_the_demo_shop_needs_neither_torch_nor_spark() -> None:
    code = (
        "import sys, demo_shop; "
        "print(sorted({'torch', 'pyspark', 'pyarrow', 'transformers'} & {name.split('.')[0] for name in sys.modules}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
