// An engine with a few segments and one user, spoken to in clock times of one day and answering in
// text.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "segment/engine.h"
#include "tests/property/playback.h"

namespace segmentd {

// "10:00", "10:00:30" or "10:00:30.500" of 2026-11-22.
Time At(std::string_view time_of_day);

// The first versions of the segments of YAML documents, in slots 0, 1, …, from the beginning.
std::vector<ActiveSegment> ActiveFromYaml(std::string_view yaml);
// That of one document.
segments::v1::Segment FromYaml(std::string_view yaml);

class SmallEngine {
 public:
  // A segment for each YAML document, in slots 0, 1, …, from the beginning.
  explicit SmallEngine(std::string_view yaml, Settings settings = {});

  struct Sent {
    std::string time;
    std::string name;
    std::map<std::string, property::Datum> properties = {};
    std::vector<property::Command> profile = {};
    std::string message_id = {};
    // Empty: as the event's time.
    std::string record_time = {};
    // Up to where the partition's deadlines have fired; empty: as before.
    std::string clock = {};
  };
  // The changes told, as "ADD 10:00 TRIGGER by A of 10:00", with "1: " before them for slot 1.
  std::vector<std::string> send(const Sent& sent);
  std::vector<std::string> clock(std::string_view time);
  std::vector<std::string> define(Slot slot, std::string_view yaml);
  std::vector<std::string> erase(Slot slot);

  bool member(Slot slot = 0) const { return IsMember(user(), slot); }
  const UserState& user() const { return playback_.user(0); }
  const Engine& engine() const { return playback_.engine(); }
  Outcome outcome() const { return outcome_; }
  segments::v1::Explanation explain(Slot slot = 0) const;

 private:
  std::vector<std::string> step(const property::Item& item);

  property::Playback playback_;
  Outcome outcome_ = Outcome::kApplied;
};

}  // namespace segmentd
