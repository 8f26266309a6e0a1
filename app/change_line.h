// A change as one line that people read.
#pragma once

#include <cstdio>
#include <string>

namespace segments::v1 {
class MembershipChange;
}

namespace segmentd {

// "2026-11-22 09:30:00.000  ADD     u42   Gold Users   inaction: Added to Cart at 09:20:00.000",
// with its line end; in colours where `file` shows them.
std::string ChangeLine(const segments::v1::MembershipChange& change, FILE* file);

// As a record of the change topic has it.
std::string ChangeJson(const segments::v1::MembershipChange& change);

}  // namespace segmentd
