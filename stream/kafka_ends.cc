#include "stream/kafka_ends.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <utility>

namespace segmentd {
namespace {

// How long the client's errors and statistics may wait to be taken out when nothing is asked.
constexpr std::chrono::seconds kPollEvery(1);

}  // namespace

KafkaEnds::KafkaEnds(rd_kafka_t* asker, Options options)
    : asker_(asker), options_(std::move(options)), thread_([this] { run(); }) {}

KafkaEnds::~KafkaEnds() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void KafkaEnds::ask(std::vector<Partition> partitions) {
  {
    const std::scoped_lock lock(mutex_);
    question_ = std::move(partitions);
  }
  changed_.notify_all();
}

std::optional<KafkaEnds::Answer> KafkaEnds::take() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(answer_, std::nullopt);
}

void KafkaEnds::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait_for(lock, kPollEvery, [this] { return stop_ || question_.has_value(); });
    if (stop_) return;
    const auto question = std::exchange(question_, std::nullopt);
    lock.unlock();
    if (!question) {
      rd_kafka_poll(asker_, 0);
      lock.lock();
      continue;
    }
    Answer found = answer(*question);
    const bool complete = found.size() == question->size();
    lock.lock();
    answer_ = std::move(found);
    const bool stop = stop_;
    lock.unlock();
    options_.answered();
    // Told first: the others need not wait for the one whose leader is looked for.
    if (!complete && !stop) (void)KafkaPartitionCount(asker_, options_.topic, options_.limit);
    lock.lock();
  }
}

KafkaEnds::Answer KafkaEnds::answer(const std::vector<Partition>& partitions) {
  absl::StatusOr<Answer> found =
      AskKafkaOffsets(asker_, options_.topic, partitions, KafkaOffset::kNext, options_.limit);
  if (found.ok()) return *std::move(found);
  spdlog::debug("no answer about the ends of topic {}: {}", options_.topic,
                std::string(found.status().message()));
  return {};
}

}  // namespace segmentd
