// The image of a user: a UserState as bytes, as the changelog keeps it.
//
// Layout, format 6. A number is a varint: 7 bits a byte, lowest first, the high bit set on all
// bytes but the last, at most 10 bytes. "Signed" is zigzag: 0, -1, 1, -2, 2 ... as 0, 1, 2, 3, 4.
// "Fixed" is 8 bytes, little-endian. A text is its length as a number and its bytes. A list is its
// length as a number and its items. A time is relative to another one, the reference R:
//
//   0 Time::Min()   1 Time::Max()   2 followed by fixed: ms since 1970   n + 3: n is signed, ms
//   since R
//
// A reference that is Min() or Max() gives way to the one that stands before it in "R or S".
//
//   byte     format, 6 (format 1 lacks what is marked *, formats 1 and 2 what is marked **, formats
//            1 to 3 what is marked ***, formats 1 to 4 what is marked ****, formats 1 to 5 what is
//            marked *****)
//   signed   included: the first input offset whose record is not in the state
//   byte     1: there is a base; 0: none; **3: one with segments settled
//   time     newest_event, R: 1970. From here on N is newest_event, or 1970
//   time     exists_since, R: N; *signed exists_offset
//   times    now, decided, next_deadline, base_time, R: N
//   **signed settled.before, time settled.at (R: N), *****number settled.change_number, if any
//   list     facts: byte 1: of the same event as the one before, 2: has a value, *4: came too late
//            (or several)
//                   time, signed offset, unless of the same event       R: fact before or N; offset
//                   before or 0
//                   fixed atom; fixed value if it has one; *time at if too late, R: its time or N
//   list     writes: time, signed offset                                R: write before or N;
//   offset before or 0
//                   time effective                                      R: its time or N
//                   byte operation, text property, value
//   list     seen:  fixed id, time record_time, ***signed offset        R: seen before or N; offset
//                   before or included
//   fold     base, if there is one; relative to an empty one
//   fold     present; relative to base, or to an empty one
//
// A value is a byte ValueType and: text | fixed, the bits of an IEEE 754 double | byte 0 or 1 |
// list of values that are no lists.
//
// A fold is: *byte 1: the user exists, number writes_applied, *number facts_applied, properties,
// segments. The last two are sequences made from those of the
// fold that it is relative to: the length as a number, and until so many items are made: a number n
// * 4 + kind:
//
//   kind 0: take the next n items of the other fold   1: leave out its next n items   2: n items
//   follow
//
//   property: text name, value, time newest_absolute, signed offset,   R: N; offset relative to 0
//             time newest, signed offset                                R: newest_absolute or N;
//             offset relative to that one's
//   segment:  number slot, number version, number (format 1: byte) of what differs from a new state
//             (1 member, 2 trigger, 4 count, 8 since, 16 cause_at, 32 exit_at, 64 session_at, 128
//             joined_value, *256 not built, *512 measures, **1024 read_value, ***4096 told,
//             ****8192 ahead), list of occurrences; then those that differ, but member, built and
//             told: byte trigger, number count, times since, cause_at, exit_at, session_at (R: N),
//             fixed joined_value, fixed read_value, list of measures, list of what is ahead.
//             Formats 1 and 2 have read_value in the place of joined_value, for dates; formats 3
//             and 4 a time (2048; R: N) after read_value that means nothing any more
//   *measure: list of samples: number 0 (one event, sum 0), or the count and fixed sum; time at (R:
//             sample before or N)
//   ahead:    number measure, fixed value, time from (R: from before or N), time at (R: from or N)
//   instance: byte 1: has a value, 2: has a deadline (or both); fixed value; time at (R: N); time
//   due (R: at or N)
//
// Stored data: a new layout gets a new format number, and the old one stays readable.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "segment/event.h"
#include "segment/user_state.h"

namespace segmentd {

// Appends the image. `included`: the first input offset whose record is not in the state.
void AppendUserImage(const UserState& user, Offset included, std::string* out);

// Reads an image into a fresh `user`. Any input is safe. DATA_LOSS says at which byte what is
// wrong, also where bytes that can be read break an order that UserState promises; UNIMPLEMENTED
// names a format of a later version. After an error `user` is unspecified.
absl::Status ParseUserImage(std::string_view image, UserState* user, Offset* included);

}  // namespace segmentd
