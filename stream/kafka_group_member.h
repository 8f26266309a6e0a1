// A worker's place in the consumer group: which partitions are its own. It reads no records: a
// consumer of its own does, so that a rebalance neither pauses nor repositions the reading of the
// partitions that stay.
//
// The client gives up for good when it is told that another has taken its place. That happens
// without another, too: after an outage longer than the session it may send a heartbeat without its
// ID. So a member that is fenced joins again, some times: of two processes with the same name one
// is left, and the other says why it ends.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "stream/io.h"
#include "stream/kafka_client.h"

namespace segmentd {

class KafkaGroupMember {
 public:
  struct Options {
    std::string topic;
    std::string group;
    // Of this member alone, and the same after a restart: a static member has its partitions back
    // at once.
    std::string instance;
    // Called from a thread of the client's when there is something for poll() to do.
    std::function<void()> wake;
  };
  using Metadata =
      KafkaPtr<rd_kafka_consumer_group_metadata_t, rd_kafka_consumer_group_metadata_destroy>;

  static absl::StatusOr<std::unique_ptr<KafkaGroupMember>> Create(const KafkaSettings& settings,
                                                                  Options options);
  // Stays a member until the session times out, or comes back under the same instance.
  ~KafkaGroupMember();

  // Joins; the listener is called inside poll().
  absl::Status join(Source::Listener listener);

  // Serves what has come. True when the listener was called. An error is lasting.
  absl::StatusOr<bool> poll();

  // For the commit of offsets in a transaction. ABORTED when this is no live member any more: a
  // broker does not check offsets that come without a generation, so they must not be sent. Any
  // thread.
  absl::StatusOr<Metadata> metadata() const;

 private:
  KafkaGroupMember(KafkaSettings settings, Options options)
      : settings_(std::move(settings)), options_(std::move(options)) {}
  absl::Status open();
  void close();
  absl::Status subscribe();
  // After a fatal error of the client. ABORTED when that was too often.
  absl::Status join_again();
  // Called while closing too.
  void rebalance(rd_kafka_t* handle, rd_kafka_resp_err_t what,
                 rd_kafka_topic_partition_list_t* partitions);
  // "member segmentd-1 of group segmentd"
  std::string name() const;

  const KafkaSettings settings_;
  const Options options_;
  Source::Listener listener_;
  KafkaHandle handle_;
  KafkaQueue queue_;
  // Given, and not taken away since.
  std::set<Partition> held_;
  bool closing_ = false;
  bool listener_called_ = false;
  std::vector<absl::Time> rejoined_;
};

}  // namespace segmentd
