// Appends records to topics, as producers would, record times of one's choice.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segment/time.h"
#include "stream/io.h"
#include "stream/kafka_client.h"

namespace segmentd {

struct NewRecord {
  Partition partition = 0;
  std::optional<std::string> key;
  bool has_value = true;
  std::string value;
  Time record_time;
  std::vector<std::pair<std::string, std::optional<std::string>>> headers = {};
};

// Throws Failure when the broker does not take a record, and is of no use then.
class TopicWriter {
 public:
  TopicWriter(const std::string& bootstrap_servers, std::string topic);

  // In order; returns when the broker has them all, with their offsets.
  std::vector<int64_t> append(const std::vector<NewRecord>& records);

 private:
  std::string topic_;
  KafkaHandle handle_;
};

}  // namespace segmentd
