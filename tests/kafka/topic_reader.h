// A topic as a consumer with isolation.level=read_committed sees it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stream/io.h"
#include "stream/kafka_client.h"

namespace segmentd {

struct TopicRecord {
  Partition partition = 0;
  int64_t offset = 0;
  bool has_key = false;
  std::string key;
  bool has_value = false;
  std::string value;
  // In their order.
  std::vector<std::pair<std::string, std::optional<std::string>>> headers;
};

// From the first record on, all partitions. Throws Failure when the broker does not answer.
class TopicReader {
 public:
  TopicReader(const std::string& bootstrap_servers, std::string topic);

  // What was committed since the last call; returns at the end as of this call.
  std::vector<TopicRecord> read_to_end();
  // Whether the topic has records of a transaction that has not ended.
  bool has_open_transaction();

 private:
  std::string topic_;
  KafkaHandle handle_;
  // For the ends, with and without what is not committed: on the reader's own connection an answer
  // waits until the fetch before it ends.
  KafkaHandle stable_end_;
  KafkaHandle next_offset_;
  std::vector<Partition> partitions_;
  // Where the next record will be; markers of transactions counted.
  std::map<Partition, int64_t> positions_;
};

}  // namespace segmentd
