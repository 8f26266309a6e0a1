// Asks for the ends of partitions on a thread of its own, because the client's way of asking
// blocks.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"

#include "stream/io.h"
#include "stream/kafka_client.h"

namespace segmentd {

class KafkaEnds {
 public:
  struct Options {
    std::string topic;
    // For an answer, and for leaders. The destructor may wait as long.
    absl::Duration limit = absl::Seconds(1);
    // Called on the thread that asks, when there is something to take.
    std::function<void()> answered;
  };
  // Partition to where its next record will be. Those without a leader are left out; empty when
  // there was no answer.
  using Answer = std::map<Partition, int64_t>;

  // `asker`, of role kAsker, outlives this.
  KafkaEnds(rd_kafka_t* asker, Options options);
  ~KafkaEnds();
  KafkaEnds(const KafkaEnds&) = delete;
  KafkaEnds& operator=(const KafkaEnds&) = delete;

  // A new question only when the answer to the one before was taken.
  void ask(std::vector<Partition> partitions);
  // The answer, once.
  std::optional<Answer> take();

 private:
  void run();
  Answer answer(const std::vector<Partition>& partitions);

  rd_kafka_t* const asker_;
  const Options options_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  std::optional<std::vector<Partition>> question_;
  std::optional<Answer> answer_;
  // Last, so that it finds all else there.
  std::thread thread_;
};

}  // namespace segmentd
