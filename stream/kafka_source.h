// The input from Kafka: a member of the consumer group says which partitions, and a consumer
// assigned by hand reads them.
//
// Records are views into the client's buffers. The end of a partition is asked for only when
// reading has come to it, by requests that poll() sends and never waits for: a broker that does not
// answer only leaves the ends out, those at other brokers too until the leaders have moved.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "stream/io.h"
#include "stream/kafka_client.h"
#include "stream/kafka_ends.h"
#include "stream/kafka_group_member.h"
#include "stream/kafka_settings.h"

namespace segmentd {

class KafkaSource : public Source {
 public:
  struct Options {
    std::string topic;
    std::string group;
    // See KafkaGroupMember.
    std::string instance;
    // Records in a batch.
    size_t batch = 4096;
    // Least time between two questions for the end.
    absl::Duration ask_every = absl::Milliseconds(50);
    // For bounds() and committed().
    absl::Duration timeout = absl::Seconds(30);
  };

  // `clock` outlives the source.
  static absl::StatusOr<std::unique_ptr<KafkaSource>> Create(const KafkaSettings& settings,
                                                             Options options, Clock& clock);
  ~KafkaSource() override;

  // Joins the group.
  void listen(Listener listener) override;
  absl::Status start(Partition partition, Offset from) override;
  absl::StatusOr<const Batch*> poll(absl::Duration wait) override;
  absl::StatusOr<std::pair<Offset, Offset>> bounds(Partition partition) override;
  std::optional<Offset> known_end(Partition partition) override;
  absl::StatusOr<std::optional<Offset>> committed(Partition partition) override;

  // Whose offsets the transactions commit. Lives as long as the source.
  const KafkaGroupMember& member() const { return *member_; }

 private:
  struct Reading {
    // The next record to be delivered, or the end.
    int64_t position = 0;
    // The reader reported the end at `position`, and no record since.
    bool at_end = false;
  };

  KafkaSource(Options options, Clock& clock)
      : options_(std::move(options)), clock_(clock), messages_(options_.batch) {}

  absl::Status drop(Partition partition);
  // Makes the batch of what was read.
  void deliver();
  void take_headers(const rd_kafka_message_t& message);
  void fail(const rd_kafka_message_t& message);
  // Sends the question for the ends if it is time, and takes in the answers.
  void ask();
  void answer();
  void add_ends();
  // Until the next question is due; infinite when none is.
  absl::Duration until_ask() const;

  Options options_;
  Clock& clock_;
  KafkaHandle reader_;
  KafkaQueue records_;
  KafkaHandle asker_;
  std::unique_ptr<KafkaEnds> ends_;
  std::unique_ptr<KafkaGroupMember> member_;

  // The reader knows the topic's leaders.
  bool warm_ = false;
  std::map<Partition, Reading> readings_;
  // For good.
  absl::Status broken_;
  // To be told once, after the records read before it.
  absl::Status failed_;

  // An answer still to come, and the wall clock before it was asked for.
  bool asking_ = false;
  Time asked_at_;
  // Monotonic.
  absl::Duration last_ask_ = -absl::InfiniteDuration();
  std::vector<Batch::End> answered_;

  KafkaMessages messages_;
  struct HeaderPlace {
    size_t record;
    size_t begin;
    size_t size;
  };
  std::vector<HeaderPlace> header_places_;
  std::vector<HeaderView> headers_;
  Batch batch_;
};

}  // namespace segmentd
