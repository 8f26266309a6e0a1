// A history: definitions, records and the passing of time, in the order in which a task meets them.
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "proto/segments/v1/definition.pb.h"
#include "segment/change.h"
#include "segment/event.h"
#include "segment/settings.h"
#include "segment/time.h"

namespace segmentd::property {

// A property's value that owns its content; monostate: missing.
using Scalar = std::variant<std::string, double, bool>;
using Datum = std::variant<std::monostate, std::string, double, bool, std::vector<Scalar>>;

struct Command {
  ProfileOperation operation;
  std::string property;
  Datum value;
};

struct Record {
  int user = 0;
  std::string name;
  Time time;
  Time record_time;
  std::string message_id;
  std::map<std::string, Datum> properties;
  std::vector<Command> profile;
};

struct Item {
  enum class Kind {
    kRecord,
    // All users up to the clock, as a task does when it has time.
    kAdvance,
    // `slot` gets `segment`: a new segment, or the next version of it.
    kDefine,
    kDelete,
    // Everything is read back from its saved image, by a new engine.
    kRestart,
  };
  Kind kind = Kind::kRecord;
  // The partition clock before this item; the history's clock is the latest so far.
  Time clock = Time::Min();
  Record record;
  Slot slot = 0;
  segments::v1::Segment segment;
  // Of a restart: whoever has still to have their turn goes on waiting for it.
  bool amid_turns = false;
};

// An item's index is its offset for the oracle; the engine's offsets are those of records.
struct History {
  Settings settings;
  int users = 1;
  std::vector<Item> items;
};

// The history for people: settings, definitions as YAML, items one a line.
std::string Describe(const History& history);
std::string Describe(const Record& record);

// Whether its definitions are right, and don't refer to each other in a circle. Segments may refer
// to some that are not there, and go while others refer to them.
bool CanRun(const History& history);

// A copy that lacks whatever can go while `fails` holds.
template <typename Fails>
History Shrink(History history, const Fails& fails);

// Simpler histories, larger steps first; for Shrink.
std::vector<History> Simpler(const History& history);

template <typename Fails>
History Shrink(History history, const Fails& fails) {
  // Each candidate runs in well under a millisecond; the bound is for a failure that takes long.
  int left = 20'000;
  for (bool shrunk = true; shrunk && left > 0;) {
    shrunk = false;
    for (History& candidate : Simpler(history)) {
      if (--left == 0) break;
      if (!fails(candidate)) continue;
      history = std::move(candidate);
      shrunk = true;
      break;
    }
  }
  return history;
}

}  // namespace segmentd::property
