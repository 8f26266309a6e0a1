#include "stream/kafka_pulse.h"

#include <utility>

#include "absl/time/clock.h"

namespace segmentd {
namespace {

using Metadata = KafkaPtr<const rd_kafka_metadata_t, rd_kafka_metadata_destroy>;

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaPulse>> KafkaPulse::Create(const KafkaSettings& settings,
                                                               Options options) {
  absl::StatusOr<KafkaConf> conf = MakeKafkaConf(settings, KafkaRole::kAsker);
  if (!conf.ok()) return conf.status();
  absl::StatusOr<KafkaHandle> handle = MakeKafkaHandle(KafkaRole::kAsker, *std::move(conf));
  if (!handle.ok()) return handle.status();
  return std::unique_ptr<KafkaPulse>(new KafkaPulse(*std::move(handle), options));
}

KafkaPulse::KafkaPulse(KafkaHandle handle, Options options)
    : handle_(std::move(handle)), options_(options), thread_([this] { run(); }) {}

KafkaPulse::~KafkaPulse() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

std::optional<absl::Time> KafkaPulse::silent_since() const {
  const std::scoped_lock lock(mutex_);
  return silent_since_;
}

void KafkaPulse::run() {
  std::unique_lock lock(mutex_);
  do {
    lock.unlock();
    const absl::Time asked = absl::Now();
    // Of the topics that the client uses: of none, so that the brokers alone are told.
    const rd_kafka_metadata_t* told = nullptr;
    const bool answered =
        rd_kafka_metadata(handle_.get(), /*all_topics=*/0, nullptr, &told,
                          KafkaTimeoutMs(options_.limit)) == RD_KAFKA_RESP_ERR_NO_ERROR;
    const Metadata owned(told);
    // The client's errors and statistics.
    rd_kafka_poll(handle_.get(), 0);
    lock.lock();
    if (answered) {
      silent_since_.reset();
    } else if (!silent_since_) {
      silent_since_ = asked;
    }
  } while (!stopped_.wait_for(lock, absl::ToChronoNanoseconds(options_.every),
                              [this] { return stop_; }));
}

}  // namespace segmentd
