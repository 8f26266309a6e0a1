// Which partition of `events` a user is in.
#pragma once

#include <cstdint>
#include <string_view>

#include "stream/io.h"

namespace segmentd {

// The hash of Kafka's Java client (DefaultPartitioner).
uint32_t Murmur2(std::string_view key);

// Where Kafka's Java client, and librdkafka with `partitioner=murmur2_random`, put a record with
// this key. Producers with another partitioner put it elsewhere, so this is where to ask first, no
// more. `partitions` is at least 1.
Partition PartitionOf(std::string_view key, int32_t partitions);

}  // namespace segmentd
