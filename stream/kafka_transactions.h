// What a worker writes, in Kafka transactions together with its input offsets.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "stream/io.h"
#include "stream/kafka_client.h"
#include "stream/kafka_group_member.h"
#include "stream/kafka_settings.h"
#include "stream/kafka_topics.h"

namespace segmentd {

class KafkaTransactions : public Transactions {
 public:
  struct Options {
    KafkaTopics topics;
    // Of this worker alone, and the same after a restart: that fences what the one before left
    // open.
    std::string transactional_id;
    // After this the broker aborts a transaction whose producer is silent. Until then what it
    // wrote, and whatever others wrote behind it, is hidden from readers: the time that a crash can
    // hold up a takeover. Bounds every call too.
    absl::Duration timeout = absl::Seconds(10);
  };

  // Opens a session. `member` outlives the transactions.
  static absl::StatusOr<std::unique_ptr<KafkaTransactions>> Create(const KafkaSettings& settings,
                                                                   Options options,
                                                                   const KafkaGroupMember& member);
  ~KafkaTransactions() override;

  absl::Status begin() override;
  absl::Status write(const Write& write) override;
  CommitResult commit(absl::Span<const std::pair<Partition, Offset>> input_offsets,
                      std::string* why) override;
  void abort() override;
  absl::Status renew() override;

 private:
  KafkaTransactions(KafkaSettings settings, Options options, const KafkaGroupMember& member)
      : settings_(std::move(settings)), options_(std::move(options)), member_(member) {}

  void end_session();
  absl::Status open_session();
  absl::Status prewarm();
  rd_kafka_resp_err_t produce(const Write& write);
  // The result when nothing was, or ever will be, committed.
  CommitResult not_committed() const;
  // What is known of a failed transaction: the first record that was not delivered, the client's
  // fatal error.
  std::string details() const;
  void delivered(const rd_kafka_message_t& message);
  int timeout_ms() const { return KafkaTimeoutMs(options_.timeout); }

  const KafkaSettings settings_;
  const Options options_;
  const KafkaGroupMember& member_;

  KafkaHandle handle_;
  KafkaTopic changes_;
  KafkaTopic dead_letters_;
  KafkaTopic changelog_;
  bool open_ = false;
  // The session can't be used any more.
  bool spent_ = true;
  uint32_t unserved_ = 0;
  std::string undelivered_;
};

}  // namespace segmentd
