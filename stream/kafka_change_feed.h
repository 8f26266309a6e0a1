// The committed changes, read from topic `segment-membership-changes`.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

#include "proto/segments/v1/change.pb.h"
#include "state/change_feed.h"
#include "stream/kafka_settings.h"

namespace segmentd {

class KafkaChangeFeed final : public ChangeFeed {
 public:
  struct Options {
    std::string topic;
    // The client needs a name of a group to read by assignment; nothing is committed to it.
    std::string group;
    // For each answer of a broker.
    absl::Duration timeout = absl::Seconds(10);
  };
  KafkaChangeFeed(KafkaSettings settings, Options options)
      : settings_(std::move(settings)), options_(std::move(options)) {}

  // Each call has a client of its own, with its threads and connections: the caller bounds their
  // number.
  absl::Status Follow(const std::map<int32_t, int64_t>& from,
                      absl::FunctionRef<bool(const segments::v1::MembershipChange&)> change,
                      absl::FunctionRef<bool()> idle) override;

  // Records of the topic that are no changes, passed over.
  int64_t unreadable() const { return unreadable_.load(std::memory_order_relaxed); }

 private:
  const KafkaSettings settings_;
  const Options options_;
  std::atomic<int64_t> unreadable_{0};
};

}  // namespace segmentd
