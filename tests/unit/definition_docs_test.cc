// docs/definitions.md: its examples can be run, and it names all that may be written.

#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"

#include "proto/segments/v1/definition.pb.h"
#include "segment/definition_check.h"
#include "segment/definition_text.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using testing::IsEmpty;

std::string Page() {
  std::ifstream file("docs/definitions.md");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> Examples(const std::string& page) {
  constexpr std::string_view kOpen = "\n```yaml\n";
  constexpr std::string_view kClose = "\n```\n";
  std::vector<std::string> examples;
  size_t at = 0;
  while ((at = page.find(kOpen, at)) != std::string::npos) {
    at += kOpen.size();
    const size_t end = page.find(kClose, at);
    examples.push_back(page.substr(at, end - at));
  }
  return examples;
}

TEST(DefinitionDocs, EachExampleCanBeRun) {
  const std::vector<std::string> examples = Examples(Page());
  EXPECT_GE(examples.size(), 10u);
  for (const std::string& example : examples) {
    const auto documents = ReadSegmentDocuments(example);
    ASSERT_TRUE(documents.ok()) << documents.status() << "\n" << example;
    for (const SegmentDocument& document : *documents) {
      std::vector<std::string> wrong;
      for (const auto& violations : {document.violations, CheckSegment(document.segment)}) {
        for (const Violation& v : violations) {
          wrong.push_back(absl::StrCat(v.path, ": ", v.message));
        }
      }
      EXPECT_THAT(wrong, IsEmpty()) << example;
    }
  }
}

// What only the server sets is not written.
bool IsWritten(const FieldDescriptor* field) {
  if (field->containing_type() != pb::Segment::descriptor()) return true;
  return (field->number() < pb::Segment::kVersionFieldNumber ||
          field->number() == pb::Segment::kEtagFieldNumber) &&
         field->number() != pb::Segment::kPausedFieldNumber;
}

void AddWritten(const Descriptor* message, std::set<const Descriptor*>* seen,
                std::set<std::string>* names) {
  if (!seen->insert(message).second) return;
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (!IsWritten(field)) continue;
    names->insert(field->name());
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
        field->message_type()->file() == pb::Segment::descriptor()->file()) {
      AddWritten(field->message_type(), seen, names);
    }
  }
}

TEST(DefinitionDocs, EveryFieldIsNamed) {
  const std::string page = Page();
  std::set<const Descriptor*> seen;
  std::set<std::string> names;
  AddWritten(pb::Segment::descriptor(), &seen, &names);
  EXPECT_GE(names.size(), 60u);
  for (const std::string& name : names) {
    const bool named = page.find(absl::StrCat("`", name, "`")) != std::string::npos ||
                       page.find(absl::StrCat("`", name, ":")) != std::string::npos ||
                       page.find(absl::StrCat("{ ", name, ": ")) != std::string::npos;
    EXPECT_TRUE(named) << name;
  }
}

}  // namespace
}  // namespace segmentd
