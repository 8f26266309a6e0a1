// The state changelog from Kafka.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "stream/io.h"
#include "stream/kafka_client.h"
#include "stream/kafka_settings.h"

namespace segmentd {

class KafkaChangelog : public Changelog {
 public:
  struct Options {
    std::string topic;
    // The client needs a name of a group to read by assignment; nothing is committed to it.
    std::string group;
    // Without a record, and without the end, for so long: UNAVAILABLE. Longer than a transaction's
    // timeout: an open one at the end is waited for.
    absl::Duration timeout = absl::Seconds(60);
  };
  static absl::StatusOr<std::unique_ptr<KafkaChangelog>> Create(const KafkaSettings& settings,
                                                                Options options);
  ~KafkaChangelog() override;

  // The end is that of all records as of the call, those of open transactions included: what
  // becomes of them is waited for, so that what an owner before this one may still commit is not
  // missed.
  absl::Status read(
      Partition partition,
      absl::FunctionRef<absl::Status(std::string_view key, std::optional<std::string_view> value)>
          record,
      absl::FunctionRef<void(int64_t offset, int64_t end)> progress) override;

 private:
  KafkaChangelog(KafkaSettings settings, Options options)
      : settings_(std::move(settings)), options_(std::move(options)) {}
  // Of all records, those of open transactions included.
  absl::StatusOr<int64_t> end(Partition partition) const;
  absl::Status read_to(
      Partition partition, int64_t end,
      absl::FunctionRef<absl::Status(std::string_view key, std::optional<std::string_view> value)>
          record,
      absl::FunctionRef<void(int64_t offset, int64_t end)> progress);

  const KafkaSettings settings_;
  const Options options_;
  KafkaHandle handle_;
  KafkaQueue records_;
};

}  // namespace segmentd
