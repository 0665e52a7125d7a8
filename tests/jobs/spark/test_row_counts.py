from jobs.spark.row_counts import count_frames


def test_counts_each_frame_by_name(spark):
    numbers = spark.range(7)
    frames = {"all": numbers, "none": numbers.where("id > 9"), "some": numbers.where("id < 2"), "again": numbers}
    assert count_frames(frames) == {"all": 7, "none": 0, "some": 2, "again": 7}


def test_frames_may_have_different_columns(spark):
    text = spark.createDataFrame([("x", [1, 2])], "a string, b array<int>")
    assert count_frames({"numbers": spark.range(3), "text": text}) == {"numbers": 3, "text": 1}
