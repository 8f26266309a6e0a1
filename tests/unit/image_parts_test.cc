#include "state/image_parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace segmentd {
namespace {

using ::testing::HasSubstr;

using Records = std::vector<std::pair<size_t, std::string>>;

Records Cut(std::string_view image, size_t part_bytes) {
  Records records;
  CutImage(image, part_bytes, [&](size_t part, std::string_view value) {
    records.emplace_back(part, std::string(value));
  });
  return records;
}

// The image that the last of the records gives; "-" where it lacks parts.
std::string Read(ImagePartReader& parts, const Records& records) {
  std::string read = "nothing";
  for (const auto& [part, value] : records) {
    if (part > 0) {
      EXPECT_TRUE(parts.take_part("u", part, value).ok());
      continue;
    }
    const auto image = parts.take("u", value);
    EXPECT_TRUE(image.ok()) << image.status();
    if (image.ok()) read = image->has_value() ? std::string(**image) : "-";
  }
  return read;
}

TEST(ImageParts, AreAsManyAsItTakes) {
  EXPECT_EQ(CountImageParts(0, 10), 1u);
  EXPECT_EQ(CountImageParts(10, 10), 1u);
  EXPECT_EQ(CountImageParts(11, 10), 2u);
  EXPECT_EQ(CountImageParts(21, 10), 3u);
}

TEST(ImageParts, ASmallImageStaysAsItIs) {
  EXPECT_EQ(Cut("\3image", 6), (Records{{0, "\3image"}}));
}

// Stored parts must stay readable.
TEST(ImageParts, AreTheSameForEver) {
  std::string shown;
  for (const auto& [part, value] : Cut("\3 image", 4)) {
    shown += absl::StrCat(part, ":", absl::BytesToHexString(value), " ");
  }
  EXPECT_EQ(shown, "1:e6428dff0b107dad616765 0:0002000000e6428dff0b107dad0320696d ");
}

TEST(ImageParts, AreNoLargerThanAsked) {
  const std::string image(2'500'000, '\3');
  const Records records = Cut(image, 1'000'000);
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records.back().first, 0u);
  for (const auto& [part, value] : records) EXPECT_LE(value.size(), 1'000'000u + 13);
  ImagePartReader parts;
  EXPECT_TRUE(Read(parts, records) == image);
  EXPECT_TRUE(parts.finish().ok());
}

TEST(ImageParts, FitTogetherAtEverySize) {
  std::string image;
  for (char c = 1; c < 60; ++c) {
    image += c;
    for (size_t part_bytes = 1; part_bytes < 70; ++part_bytes) {
      ImagePartReader parts;
      ASSERT_EQ(Read(parts, Cut(image, part_bytes)), image) << part_bytes;
    }
  }
}

TEST(ImageParts, OfAnEarlierImageAreNotTakenForThose) {
  Records records = Cut("\3 the first image", 4);
  const Records second = Cut("\3 the second one", 4);
  records.insert(records.end(), second.begin(), second.end());
  ImagePartReader parts;
  EXPECT_EQ(Read(parts, records), "\3 the second one");
  // A smaller one needs none of them.
  EXPECT_EQ(Read(parts, {{3, Cut("\3 a third image", 4)[0].second}, {0, "\3"}}), "\3");
  EXPECT_TRUE(parts.finish().ok());
}

TEST(ImageParts, MayBeGoneWhereANewerImageFollows) {
  const Records first = Cut("\3 the first image", 6);
  const Records second = Cut("\3 the second one", 6);
  ASSERT_EQ(first.size(), 3u);
  ASSERT_EQ(second.size(), 3u);
  // Compaction came as far as the parts of the second.
  const Records compacted = {first[2], second[0], second[1]};
  ImagePartReader parts;
  EXPECT_EQ(Read(parts, compacted), "-");
  EXPECT_EQ(parts.finish().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(parts.finish().message()), HasSubstr("\"u\" lacks parts"));
  EXPECT_EQ(Read(parts, {second[2]}), "\3 the second one");
  EXPECT_TRUE(parts.finish().ok());
}

TEST(ImageParts, DeletedOnesAreGone) {
  const Records records = Cut("\3 image", 4);
  ASSERT_EQ(records.size(), 2u);
  ImagePartReader parts;
  ASSERT_TRUE(parts.take_part("u", 1, records[0].second).ok());
  ASSERT_TRUE(parts.take_part("u", 1, std::nullopt).ok());
  ASSERT_TRUE(parts.take_part("other", 1, std::nullopt).ok());
  EXPECT_EQ(Read(parts, {records[1]}), "-");
}

TEST(ImageParts, DamageIsTold) {
  ImagePartReader parts;
  EXPECT_EQ(parts.take_part("u", 1, "short").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(parts.take("u", std::string(5, '\0')).status().code(), absl::StatusCode::kDataLoss);
  Records records = Cut("\3 image", 4);
  records[0].second.back() ^= 1;
  ASSERT_TRUE(parts.take_part("u", 1, records[0].second).ok());
  EXPECT_EQ(parts.take("u", records[1].second).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace segmentd
