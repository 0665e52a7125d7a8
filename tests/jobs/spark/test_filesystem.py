from jobs.spark.filesystem import list_files


def test_files_of_a_folder_and_of_a_glob_hidden_ones_included(spark, tmp_path):
    for name in ("a.csv", "_b.csv", "sub/c d.csv", "sub/.e"):
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * len(name))
    found = list_files(spark, str(tmp_path / "shop"))
    assert {name: size for name, (_, size) in found.items()} == {
        "a.csv": 5, "_b.csv": 6, "sub/c d.csv": 11, "sub/.e": 6,
    }  # fmt: skip
    assert list_files(spark, str(tmp_path / "shop" / "[a_]*.csv")).keys() == {"a.csv", "_b.csv"}
    assert list_files(spark, str(tmp_path / "s*p")).keys() == {
        "shop/a.csv", "shop/_b.csv", "shop/sub/c d.csv", "shop/sub/.e",
    }  # fmt: skip
    assert list_files(spark, str(tmp_path / "none*")) == {}
