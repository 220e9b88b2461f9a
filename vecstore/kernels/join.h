// The rows of a representation are the same for all queries: what joins them with some.
#pragma once
#include <memory>
#include <variant>
#include <vector>

#include "scan.h"

namespace vecstore {

using Job = std::variant<FlatJob, DenseJob, PackedJob, TableJob, SignsJob, TotalJob>;

inline const void* job_of(const Job& job) {
    return std::visit([](const auto& own) -> const void* { return &own; }, job);
}

// The rows of one scorer and the queries of another; points into both.
struct Joined {
    Job job;
    std::vector<Term> terms;  // of a total: those of `parts`
    std::vector<std::unique_ptr<const Joined>> parts;
    Scoring scoring;
};

class Scores {
  public:
    virtual ~Scores() = default;
    virtual Scoring scoring() const = 0;
    virtual const Job& job() const = 0;
    // Of a total: what it adds up.
    virtual const std::vector<const Scores*>& terms() const {
        static const std::vector<const Scores*> none;
        return none;
    }
};

// Throws where the two are not of the same codec.
std::unique_ptr<const Joined> join(const Scores& rows, const Scores& queries);

}  // namespace vecstore
