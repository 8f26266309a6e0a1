// The input read again from Kafka: a consumer of its own, assigned by hand, that commits nothing.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "stream/io.h"
#include "stream/kafka_client.h"
#include "stream/kafka_settings.h"

namespace segmentd {

class KafkaHistory : public HistorySource {
 public:
  struct Options {
    std::string topic;
    // The client needs a name of a group to read by assignment; nothing is committed to it.
    std::string group;
    // Records in a batch.
    size_t batch = 4096;
    // For open().
    absl::Duration timeout = absl::Seconds(10);
  };

  // Connects when it is first opened.
  static absl::StatusOr<std::unique_ptr<KafkaHistory>> Create(const KafkaSettings& settings,
                                                              Options options);
  ~KafkaHistory() override;

  // OUT_OF_RANGE of poll(): retention has overtaken the reading; open() again.
  absl::StatusOr<Offset> open(Partition partition, Offset from) override;
  absl::StatusOr<const Batch*> poll(absl::Duration wait) override;
  void close() override;

 private:
  KafkaHistory(const KafkaSettings& settings, Options options)
      : settings_(settings), options_(std::move(options)), messages_(options_.batch) {}

  absl::Status connect();
  KafkaPartitions list() const;

  const KafkaSettings settings_;
  const Options options_;
  KafkaHandle handle_;
  KafkaQueue records_;
  KafkaMessages messages_;
  Partition partition_ = 0;
  bool open_ = false;
  std::vector<HeaderView> headers_;
  Batch batch_;
};

}  // namespace segmentd
