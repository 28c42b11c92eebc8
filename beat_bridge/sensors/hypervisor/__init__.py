"""Looking from below: a guest's memory, read from outside, where no guest can lie about itself."""
