// Well-formed records of every format, most of them damaged at random: what a broken or hostile
// client may send.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "proto/segments/v1/event.pb.h"
#include "segment/time.h"

namespace segmentd {

// Maps in the order of their keys, so that a seed repeats a run.
std::string Serialized(const segments::v1::Event& message);

struct MutatedRecord {
  // Mostly the user of the body as it was.
  std::optional<std::string> key;
  std::string body;
  // Empty: the record has no such header.
  std::string_view content_type;
};

// The same for the same seed.
class MutatedRecords {
 public:
  // Of users with IDs that need no escape in JSON; not empty.
  MutatedRecords(uint64_t seed, std::vector<std::string> users);

  // Of an event at `now` as far as the record says when, with a message ID of its own.
  MutatedRecord next(Time now);

 private:
  size_t below(size_t n) { return static_cast<size_t>(engine_() % n); }
  bool one_in(size_t n) { return below(n) == 0; }
  void mutate(const std::string& other, std::string* body);

  std::mt19937_64 engine_;
  const std::vector<std::string> users_;
  int64_t made_ = 0;
};

}  // namespace segmentd
