// The workload that the figures are measured on: events of 200 bytes as JSON, and definitions of
// which half are single actions, a quarter any of three triggers with expiry and a quarter
// inaction, so that about half a change comes out of an event.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/segments/v1/definition.pb.h"

namespace segmentd::bench {

// The same on every machine and in every run.
class Workload {
 public:
  // `names`: distinct event names. More names than definitions leave events that no definition
  // refers to. `past`: so many segments of past behaviour over 30-day windows besides.
  Workload(int segments, int users, int names, int past = 0);

  const std::vector<segments::v1::Segment>& segments() const { return segments_; }

  // The user of the event with number `i`.
  std::string user(int64_t i) const;
  // The same event as append_event writes, taken apart; `user` is the number in the user's ID.
  void fill(int64_t i, std::string* name, std::string* category, double* amount,
            size_t* user) const;
  // Appends the body of the event with number `i`, at `time_ms`.
  void append_event(int64_t i, int64_t time_ms, std::string* out) const;

 private:
  uint64_t random(int64_t i, uint64_t salt) const;

  std::vector<segments::v1::Segment> segments_;
  int users_;
  int names_;
};

}  // namespace segmentd::bench
