// Segments tried on a sequence of events, without any server or Kafka: the engine and the decoder
// that segmentd runs, over lines.
//
// As one partition would see them: record time = event time, file order = offset order, no grace.
// Deadlines of all users fire in the order of time, as the clock, the newest event time so far,
// advances.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "proto/segments/v1/definition.pb.h"
#include "segment/engine.h"
#include "state/timing_wheel.h"
#include "state/user_store.h"
#include "stream/change_codec.h"
#include "stream/decoder.h"

namespace segmentd {

class Replay {
 public:
  // Told each change in the order of emission, as a record of the change topic: JSON, without a
  // line end.
  using Sink = std::function<void(std::string_view change)>;

  // Segments without an ID get their number in the list, from 1, or the next that none has.
  // INVALID_ARGUMENT for what can't be run.
  static absl::StatusOr<Replay> Create(std::vector<segments::v1::Segment> segments, Sink sink);

  struct DeadLetter {
    int64_t line;
    DecodeError error;
    std::string detail;
  };

  // Takes the next line. What can't be understood is counted and otherwise without effect; empty
  // lines are nothing.
  void apply(std::string_view line, int64_t line_number);
  // A dead letter that was found before decoding.
  void refuse(int64_t line_number, DecodeError error, std::string_view detail);
  // Fires the deadlines up to and including `clock`. A clock in the past has no effect.
  void advance(Time clock);

  struct Counts {
    int64_t events = 0;
    int64_t late = 0;
    int64_t too_late = 0;
    int64_t duplicates = 0;
    int64_t dead_letters = 0;
    int64_t deadlines = 0;
    // By segments::v1::Action.
    std::array<int64_t, 4> changes{};
  };
  const Counts& counts() const { return counts_; }
  // What the bounds of what is kept per user cut off.
  const EngineCounters& cut_off() const { return engine_.counters(); }
  // The first of them, at most kDeadLettersKept.
  static constexpr size_t kDeadLettersKept = 20;
  const std::vector<DeadLetter>& dead_letters() const { return dead_letters_; }
  int64_t users() const { return static_cast<int64_t>(users_->size()); }
  // Time::Min() before the first event.
  Time clock() const { return clock_; }

  struct SegmentCount {
    std::string id;
    std::string name;
    int64_t members = 0;
    int64_t added = 0;
    int64_t removed = 0;
  };
  // In the order of the definitions given.
  const std::vector<SegmentCount>& segments() const { return segments_; }

 private:
  Replay(std::shared_ptr<const RuleSet> rules, const Settings& settings, Sink sink);
  // What the engine has just found of the user.
  void emit(const StoredUser& user);

  std::shared_ptr<const RuleSet> rules_;
  Decoder decoder_;
  Engine engine_;
  ChangeEncoder encoder_;
  Sink sink_;
  std::unique_ptr<UserStore> users_;
  TimingWheel deadlines_;
  std::vector<TimingWheel::Due> due_;
  Time clock_ = Time::Min();
  int64_t next_offset_ = 0;
  int64_t next_change_ = 0;
  Changes changes_;
  std::string record_;
  Counts counts_;
  std::vector<SegmentCount> segments_;
  std::vector<DeadLetter> dead_letters_;
};

}  // namespace segmentd
