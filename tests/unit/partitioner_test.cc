#include "stream/partitioner.h"

#include <gtest/gtest.h>

namespace segmentd {
namespace {

// From the tests of Apache Kafka's own org.apache.kafka.common.utils.Utils.
TEST(Partitioner, HashesLikeKafkaDoes) {
  EXPECT_EQ(static_cast<int32_t>(Murmur2("21")), -973932308);
  EXPECT_EQ(static_cast<int32_t>(Murmur2("foobar")), -790332482);
  EXPECT_EQ(static_cast<int32_t>(Murmur2("a-little-bit-long-string")), -985981536);
  EXPECT_EQ(static_cast<int32_t>(Murmur2("a-little-bit-longer-string")), -1486304829);
  EXPECT_EQ(static_cast<int32_t>(Murmur2("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8")),
            -58897971);
  EXPECT_EQ(static_cast<int32_t>(Murmur2("abc")), 479470107);
}

TEST(Partitioner, DropsTheSignBeforeItDivides) {
  EXPECT_EQ(PartitionOf("foobar", 1), 0);
  EXPECT_EQ(PartitionOf("foobar", 1000), (-790332482 & 0x7fffffff) % 1000);
  EXPECT_EQ(PartitionOf("abc", 7), 479470107 % 7);
}

}  // namespace
}  // namespace segmentd
